"""What happens in a worker, as values for whoever watches (metrics, the status page, tests). Times are in seconds.

An observer is any function of one event; it must be quick and must not raise.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

PollResult = Literal["full", "partial", "empty", "error", "mismatch"]
RunOutcome = Literal["completed", "failed_retryable", "failed_final"]


class Polled(NamedTuple):
    """A poll was answered (full: as many jobs as asked for), or failed, or found polling switched off."""

    result: PollResult
    seconds: float


class ClaimExpired(NamedTuple):
    """A claimed job could not be started inside its lease; the engine will give it to a worker again."""

    job_type: str


class Duplicate(NamedTuple):
    """A job came again and is not run for it: its lease ran out while it runs here, or its event came twice."""

    job_type: str


class Skipped(NamedTuple):
    """A record from Kafka is no job of its type and never will be: it is put aside."""

    job_type: str


class Started(NamedTuple):
    """A handler starts, `queued` seconds after its job was claimed."""

    job_type: str
    queued: float


class TimedOut(NamedTuple):
    """A handler reached its timeout."""

    job_type: str


class Recalled(NamedTuple):
    """A claimed job is not run: its outcome is known from before a crash, or it killed its worker too often."""

    job_type: str


class Executed(NamedTuple):
    """A handler ended; `message` says why, where it failed."""

    job_type: str
    outcome: RunOutcome
    seconds: float
    message: str


class OutcomeRetried(NamedTuple):
    """An outcome did not get through and will be sent again."""

    job_type: str


class Reported(NamedTuple):
    """The last word on an outcome, `seconds` after it was decided."""

    job_type: str
    outcome: RunOutcome
    verdict: Literal["accepted", "refused", "abandoned"]
    seconds: float


Event = (
    Polled | ClaimExpired | Duplicate | Skipped | Started | TimedOut | Recalled | Executed | OutcomeRetried | Reported
)
Observer = Callable[[Event], None]
