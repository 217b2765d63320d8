"""Why instances failed: the step, its job type and the message of each, and groups of them."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from rochallor_worker.asking.calls import each
from rochallor_worker.asking.definitions import definitions_of
from rochallor_worker.asking.instances import began, newest
from rochallor_worker.engine.client import EngineClient, Instance, InstanceStatus, StepExecution

COMPARED = 500
"""How many characters of a message are compared."""
_LETTER = r"(?:[\w-]|:(?=\d))"
_OWN_WORD = re.compile(rf"(?={_LETTER}{{4}}){_LETTER}*?\d{_LETTER}*")
"""A word that is probably of one instance: an id, a number of an order, a date. Shorter ones are kept: HTTP 503."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A FAILED instance and the step it failed at."""

    instance: Instance
    step_id: str
    """Empty if none of its steps failed: only the whole instance did."""
    job_type: str
    """Empty if the step has no jobs, or the engine does not say."""
    known: bool
    """Whether the engine says what type of jobs the step has; over gRPC it may not."""

    @property
    def message(self) -> str:
        """Why it failed, in one line."""
        return " ".join(self.instance.failure_reason.split())

    @property
    def at(self) -> datetime:
        """When it failed."""
        return self.instance.completed_at or began(self.instance)


@dataclass(frozen=True, slots=True)
class Group:
    """Failures of one step whose messages differ at most in ids and long numbers."""

    failures: tuple[Failure, ...]
    """The latest first; there is at least one."""

    @property
    def latest(self) -> Failure:
        return self.failures[0]


async def look_for(
    engine: EngineClient, limit: int, *, definition_id: str = "", since: datetime | None = None
) -> tuple[list[Failure], int]:
    """Return the failures among the newest `limit` FAILED instances, the latest first, and how many have FAILED.

    `since` leaves out what failed earlier.
    """
    listed = await newest(engine, limit, definition_id=definition_id, status=InstanceStatus.FAILED)
    wanted = [one for one in listed.items if since is None or (one.completed_at or began(one)) >= since]
    return await explain(engine, wanted), listed.total


async def explain(engine: EngineClient, instances: list[Instance]) -> list[Failure]:
    """Return the failures of FAILED instances, the latest first."""
    definitions = await definitions_of(engine, instances)
    histories = await each(engine.get_instance_history, [one.id for one in instances])
    failures = []
    for one, history in zip(instances, histories, strict=True):
        steps = definitions[one.definition_id, one.definition_version]
        step_id = failed_step(history, one.failure_reason)
        step = steps.get(step_id)
        failures.append(Failure(one, step_id, step.jobs_of if step else "", known=bool(steps)))
    return sorted(failures, key=lambda failure: failure.at, reverse=True)


def failed_step(history: Iterable[StepExecution], reason: str = "") -> str:
    """Return the step that failed an instance, of those whose latest entry is FAILED; nothing if there is none.

    A parallel branch may have failed before, or been interrupted by a timer: the one with the instance's own reason is
    preferred, then the latest.
    """
    latest = {
        entry.step_id: entry for entry in sorted(history, key=lambda entry: entry.id)
    }  # ids are in order of entry
    failed = [entry for entry in latest.values() if entry.status == "FAILED"]
    return max(failed, key=lambda entry: (entry.failure_reason == reason, entry.id)).step_id if failed else ""


def grouped(failures: Iterable[Failure]) -> list[Group]:
    """Return the failures in groups, the largest first."""
    groups: defaultdict[tuple[str, str, str], list[Failure]] = defaultdict(list)
    for failure in failures:
        groups[failure.instance.definition_id, failure.step_id, shape(failure.message)].append(failure)
    found = [Group(tuple(sorted(group, key=lambda one: one.at, reverse=True))) for group in groups.values()]
    return sorted(found, key=lambda group: (-len(group.failures), group.latest.instance.id))


def shape(message: str) -> str:
    """Return a message without what is of one instance: words of four characters or more with a digit in them."""
    return _OWN_WORD.sub("…", message[:COMPARED])
