"""The jobs in the answer to a poll: all are leased to us, so one that cannot be read must not cost the others."""

from collections.abc import Callable, Collection
from typing import TypeVar

import structlog

from rochallor_worker.engine.base import UNREADABLE, ClaimedJob
from rochallor_worker.errors import AnswerLost

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def readable(claims: Collection[T], read: Callable[[T], ClaimedJob]) -> list[ClaimedJob]:
    """Return the jobs that can be read; the others are logged and left to their leases.

    Raises `AnswerLost` when there are jobs and none can be read: that is no answer of this engine.
    """
    jobs: list[ClaimedJob] = []
    why: Exception | None = None
    for claim in claims:
        try:
            job = read(claim)
            if not job.id or not job.instance_id:
                raise ValueError("it names no job or no instance")
        except UNREADABLE as error:
            why = error
            log.error("a job that was claimed cannot be read; it is left to its lease", error=str(error))
        else:
            jobs.append(job)
    if why is not None and not jobs:
        raise AnswerLost(f"no job in the answer to the poll can be read: {why}") from why
    return jobs
