"""What all transports read alike: the jobs in a poll's answer, and reasons that mean more than their status."""

from collections.abc import Callable, Collection
from typing import TypeVar

from rochallor_worker.engine.client import UNREADABLE, ClaimedJob
from rochallor_worker.errors import AnswerLost
from rochallor_worker.logger import get_logger

T = TypeVar("T")

log = get_logger(__name__)


def readable(claims: Collection[T], read: Callable[[T], ClaimedJob]) -> list[ClaimedJob]:
    """Return the jobs that can be read. The others are leased to this worker too: they are logged, and expire.

    Raises `AnswerLost` if there are jobs and none can be read: no engine answers like that.
    """
    jobs: list[ClaimedJob] = []
    why: Exception | None = None
    for claim in claims:
        try:
            job = read(claim)
            if not job.id or not job.instance_id:
                raise ValueError("it has no job id or no instance id")
        except UNREADABLE as error:
            why = error
            log.error("a claimed job cannot be read; its lease will expire", error=str(error))
        else:
            jobs.append(job)
    if why is not None and not jobs:
        raise AnswerLost(f"no job in the answer to the poll can be read: {why}") from why
    return jobs


def names_nothing(reason: str) -> bool:
    """Whether a 500 or INTERNAL means that a job, or the definition of a new instance, does not exist (engine.md,
    "Errors": its statuses mean more than one thing)."""
    return "not found" in reason or "no rows in result set" in reason


def breaks_schema(reason: str) -> bool:
    """Whether a step's `outputs_schema` or a definition's `input_schema` refused the values, whatever the status."""
    return reason.startswith("schema violation:")
