"""What happens in a worker, as values for its observers (metrics, the status page, tests). Times are in seconds.

An observer is any function of one event; it must be quick and must not raise. Unlike tuples, events of two types are
never equal, whatever their content.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

PollResult = Literal["full", "partial", "empty", "error", "mismatch"]
RenewResult = Literal["renewed", "lost", "unsupported", "failed"]
Verdict = Literal["accepted", "refused", "abandoned", "late", "lost"]
"""How reporting an outcome ended.

accepted   the engine has accepted it, proven by an answer inside the lease or by the instance's history
refused    the engine will never accept it
abandoned  it is not sent, or not again: the job is redelivered
late       the answer came after the end of the lease and proves nothing: the outcome is kept for the job's next claim
lost       the engine has answered that the job is no longer ours
"""
OutcomeKind = Literal["completed", "failed_retryable", "failed_final"]


@dataclass(frozen=True, slots=True)
class Polled:
    """A poll was answered (full: with as many jobs as asked for), or failed, or found polling switched off."""

    result: PollResult
    seconds: float


@dataclass(frozen=True, slots=True)
class Leased:
    """The length of the granted leases has changed, or the skew between the engine's clock and the database's."""

    length: float
    clock_skew: float


@dataclass(frozen=True, slots=True)
class Renewed:
    """A lease was renewed, or not: it is lost, this engine cannot renew, or the call failed."""

    job_type: str
    result: RenewResult


@dataclass(frozen=True, slots=True)
class Overran:
    """A handler still runs at the end of its lease; another worker may get the job."""

    job_type: str


@dataclass(frozen=True, slots=True)
class ClaimExpired:
    """A claimed job could not be started inside its lease; the engine will redeliver it."""

    job_type: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A job was redelivered and is not run again: it still runs here, or its event came twice."""

    job_type: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A Kafka record is not a job of its type and never will be: it is put aside."""

    job_type: str


@dataclass(frozen=True, slots=True)
class Started:
    """A handler starts, `queued` seconds after its job was claimed and `waited` seconds after it was created.

    `waited` is None where that is not known, and where the job was postponed here before.
    """

    job_type: str
    queued: float
    waited: float | None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """A handler reached its timeout."""

    job_type: str


@dataclass(frozen=True, slots=True)
class Recalled:
    """A claimed job is not run: its outcome was decided before a crash, or it crashed or overran too often."""

    job_type: str


@dataclass(frozen=True, slots=True)
class Parked:
    """A job is postponed: it runs again later, here or elsewhere, and no retry is spent."""

    job_type: str


@dataclass(frozen=True, slots=True)
class Executed:
    """A handler ended; `message` is why it failed, if it did."""

    job_type: str
    outcome: OutcomeKind
    seconds: float
    message: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class OutcomeRetried:
    """An outcome did not get through and will be sent again."""

    job_type: str


@dataclass(frozen=True, slots=True)
class Reported:
    """An outcome was reported, with this verdict, `seconds` after it was first sent."""

    job_type: str
    outcome: OutcomeKind
    verdict: Verdict
    seconds: float


Event = (
    Polled
    | Leased
    | Renewed
    | Overran
    | ClaimExpired
    | Duplicate
    | Skipped
    | Started
    | TimedOut
    | Recalled
    | Parked
    | Executed
    | OutcomeRetried
    | Reported
)
Observer = Callable[[Event], None]
