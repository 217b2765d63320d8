"""How long a job has waited: from its creation to the start of its handler."""

from collections.abc import Callable
from datetime import datetime

from rochallor_worker.engine.client import ClaimedJob

LONGEST = 365 * 86_400.0
"""Seconds above which two times make no sense, such as the year 1 that a Go program writes for no time at all."""


def waited(job: ClaimedJob, since_claim: float, now: Callable[[], datetime]) -> float | None:
    """Return the seconds that a job has waited, if its claim was requested `since_claim` seconds ago.

    Over REST no clock of this machine counts, since the claim says when it began. Otherwise `now` is asked, this
    machine's time: where it is behind the engine's clock the wait is too short, and at least 0. None where it is not
    known.
    """
    if job.created_at is None:
        return None
    if job.locked_at is not None:
        seconds = (job.locked_at - job.created_at).total_seconds() + since_claim
    else:
        seconds = (now() - job.created_at).total_seconds()
    return max(0.0, seconds) if abs(seconds) <= LONGEST else None
