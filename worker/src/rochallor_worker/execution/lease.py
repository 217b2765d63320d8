"""Until when a job is ours, and under which id.

A claim begins a lease; renewals, and later claims of the same key, extend it while the job runs. Only the engine's
answer says how long it is: replicas of several generations may answer in turn (engine.md, "Generations").
Times are seconds on the worker's clock, unless they are datetimes of the engine.
"""

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from rochallor_worker.engine.client import ClaimedJob

if TYPE_CHECKING:
    from collections.abc import Callable

FIXED_LENGTH = 30.0
"""The length of every lease of an engine that cannot renew (engine.md)."""
LONGEST = 86_400.0
"""Seconds above which a lease makes no sense: the longest to ask for is an hour, and clocks differ by less."""
MARGIN = 1.0
"""Seconds kept free at the end of a lease to report the outcome; a fifth of the lease, if that is less."""


TIME_TO_RUN = 2 / 3
"""The part of a lease that a run should have: one that began with less, and is cut short, spends no retry."""


class Grant(NamedTuple):
    """What the answer to a claim says about its lease."""

    nominal: float
    """Its length by the engine: what was asked for, or the fixed one."""
    length: float
    """How long it really holds: less where the engine's clock is behind that of the database, which checks it."""

    @property
    def clock_skew(self) -> float:
        """Seconds by which the engine's clock is ahead of the database's, as far as the answer shows it."""
        return self.length - self.nominal


def granted(job: ClaimedJob, asked: float, now: datetime) -> Grant:
    """Return how long a claim that asked for `asked` seconds holds; `now` is this machine's time.

    Over REST it is what the database will check: from its own `lockedAt` to the engine's `lockExpiresAt`. gRPC has only
    the latter: there it is the length asked for or the fixed one, whichever is closer by this machine's clock. An
    answer without an end, or with one that makes no sense, counts for the shorter of the two.
    """
    shortest = min(asked, FIXED_LENGTH)
    if job.lock_expires_at is None:
        return Grant(shortest, shortest)
    shown = (job.lock_expires_at - (job.locked_at or now)).total_seconds()
    if job.locked_at is not None and not 0 < shown <= LONGEST:
        return Grant(shortest, shortest)
    nominal = min((asked, FIXED_LENGTH), key=lambda length: abs(shown - length))
    return Grant(nominal, shown if job.locked_at is not None else nominal)


class Lease:
    """The lease of one job. `changed` is called whenever its end moves or the job is lost."""

    def __init__(self, job: ClaimedJob, begun: float, grant: Grant) -> None:
        self.job = job
        """The claim that counts: outcomes and renewals go to its id."""
        self.grant = grant
        self.end = begun + grant.length
        self.renew_at = begun + grant.length / 3
        """When to renew it next; most jobs have ended by then."""
        self.renewable = True
        """Whether the engine could renew it when last asked."""
        self.lost = False
        """Whether the engine has answered that the job is no longer ours: nothing more is sent for it."""
        self.overran = False
        """Whether it has ended while the handler still ran."""
        self.handler_ended = False
        self.changed: Callable[[], None] = _nothing
        self._expires_at = job.lock_expires_at

    @property
    def deadline(self) -> float:
        """When the handler must have ended, so that its outcome can still be reported inside the lease."""
        return self.end - min(MARGIN, self.grant.length / 5)

    def holds(self, now: float) -> bool:
        """Whether the job is certainly still ours."""
        return not self.lost and now < self.end

    def renewed(self, begun: float, expires_at: datetime) -> bool:
        """Apply a renewal that was requested at `begun` and answered with a new end.

        Returns False, and changes nothing, if the new end is not later than the last one.
        """
        before, self._expires_at = self._expires_at, expires_at
        if before is not None and expires_at <= before:
            return False
        self._begin(begun, self.grant)
        return True

    def adopt(self, newer: "Lease") -> None:
        """Adopt the id and the lease of a later claim of the same key."""
        self.job, self._expires_at = newer.job, newer.job.lock_expires_at
        self._begin(newer.end - newer.grant.length, newer.grant)

    def lose(self) -> None:
        """Note that the job is no longer ours."""
        self.lost = True
        self.changed()

    def _begin(self, begun: float, grant: Grant) -> None:
        self.grant, self.end, self.renew_at = grant, begun + grant.length, begun + grant.length / 3
        self.renewable, self.overran = True, False
        self.changed()


def _nothing() -> None:
    return None
