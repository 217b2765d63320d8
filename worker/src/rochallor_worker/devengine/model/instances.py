"""The instances, and how they are looked up."""

from collections import Counter
from itertools import islice

from rochallor_worker.devengine.errors import NotFoundError, TakenError
from rochallor_worker.devengine.records import Changed, Instance, InstanceStatus


class Instances:
    """All instances in order of their start, in `rows` by id."""

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self.rows: dict[str, Instance] = {}
        self._by_business_key: dict[str, list[Instance]] = {}
        self._totals: Counter[tuple[str, str]] = Counter()

    def add(self, instance: Instance) -> None:
        """Add an instance that is being started."""
        self.rows[instance.id] = instance
        self._totals[instance.definition.id, instance.status] += 1
        if instance.business_key:
            self._by_business_key.setdefault(instance.business_key, []).append(instance)
        self.changed(instance)

    def changed(self, instance: Instance) -> None:
        """Report a change of an instance or of its history."""
        self._changed("instance", instance.id, instance)

    def get(self, instance_id: str) -> Instance:
        """Return an instance. Raises `NotFoundError`."""
        try:
            return self.rows[instance_id]
        except KeyError:
            raise NotFoundError(f'instance "{instance_id}" not found') from None

    def acted_on(self, instance_id: str) -> Instance:
        """Return the instance that a user task, signal or retry names. Raises `NotFoundError` with its own text."""
        if instance_id not in self.rows:
            raise NotFoundError("workflow instance not found")
        return self.rows[instance_id]

    def set_status(
        self, instance: Instance, status: InstanceStatus, ended_at: float | None, reason: str | None
    ) -> None:
        """Set the status of an instance; a final one has an end."""
        self._totals[instance.definition.id, instance.status] -= 1
        self._totals[instance.definition.id, status] += 1
        instance.status, instance.completed_at, instance.failure_reason = status, ended_at, reason
        self.changed(instance)

    def check_business_key(self, definition_id: str, business_key: str | None) -> None:
        """Raise `TakenError` if a live instance of the definition has the key (engine.md: "Start")."""
        for instance in self._by_business_key.get(business_key or "", ()):
            if instance.live and instance.definition.id == definition_id:
                raise TakenError(f'business key "{business_key}" is already in use by instance "{instance.id}"')

    def list(
        self, *, definition_id: str, status: str, business_key: str, page: int, page_size: int
    ) -> tuple[list[Instance], int]:
        """Return one page of the instances that match, the newest first, and how many match."""

        def matches(instance: Instance) -> bool:
            return definition_id in {"", instance.definition.id} and status in {"", instance.status}

        start = page * page_size
        if business_key:
            with_key = reversed(self._by_business_key.get(business_key, []))
            found = [instance for instance in with_key if matches(instance)]
            return found[start : start + page_size], len(found)
        total = sum(
            count
            for (of_definition, with_status), count in self._totals.items()
            if definition_id in {"", of_definition} and status in {"", with_status}
        )
        if start >= total:
            return [], total
        newest_first = filter(matches, reversed(self.rows.values()))
        return list(islice(newest_first, start, min(start + page_size, total))), total
