"""The uploaded definitions, with all their versions."""

from collections.abc import Callable

from msgspec.structs import replace

from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import NotFoundError
from rochallor_worker.devengine.records import Changed, Generation
from rochallor_worker.devengine.validation import check


class Catalog:
    """Definitions by id, each with its versions from 1; `clock` returns epoch seconds."""

    def __init__(self, clock: Callable[[], float], changed: Changed) -> None:
        self._clock = clock
        self._changed = changed
        self._versions: dict[str, list[tuple[Definition, float]]] = {}

    def upload(self, definition: Definition, generation: Generation = "fenced") -> tuple[Definition, float]:
        """Store a definition as the next version of its id, unless a version has the same content already.

        Return that version with the time of its upload. Raises `BadRequestError` with every problem.
        """
        check(definition, generation)
        versions = self._versions.get(definition.id, [])
        for known in versions:
            if replace(known[0], version=0) == replace(definition, version=0):
                return known
        return self.add(replace(definition, version=len(versions) + 1), self._clock())

    def add(self, definition: Definition, uploaded_at: float) -> tuple[Definition, float]:
        """Store a definition as the version that it says; return it with the time of its upload."""
        version = (definition, uploaded_at)
        self._versions.setdefault(definition.id, []).append(version)
        self._changed("definition", f"{definition.id} {definition.version}", version)
        return version

    def get(self, definition_id: str, version: int = 0) -> Definition:
        """Return one version of a definition; 0 means the newest."""
        versions = self._versions.get(definition_id, [])
        if not 0 <= version <= len(versions) or not versions:
            raise NotFoundError("definition not found")
        return versions[version - 1][0]

    def list(
        self, *, keyword: str = "", page: int = 0, page_size: int = 20
    ) -> tuple[list[tuple[Definition, float]], int]:
        """Return one page of the newest versions whose id or name contains `keyword`, by id, and the total."""
        wanted = keyword.lower()
        newest = (self._versions[definition_id][-1] for definition_id in sorted(self._versions))
        found = [entry for entry in newest if wanted in entry[0].id.lower() or wanted in entry[0].name.lower()]
        return found[page * page_size : (page + 1) * page_size], len(found)
