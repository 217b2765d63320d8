"""When a running handler is interrupted: at its timeout, before its lease ends, or at once when the lease is lost."""

import asyncio
import contextlib
import math
from collections.abc import Callable

from rochallor_worker.execution.lease import TIME_TO_RUN, Lease


class Limit:
    """The time limit of one run, which moves with its lease. `timeout` is in seconds from now, on `clock`."""

    def __init__(
        self,
        timeout: float | None,
        lease: Lease | None = None,
        *,
        clock: Callable[[], float],
        on_reached: Callable[[], None] = lambda: None,
    ) -> None:
        self.reached = False
        self._timeout = timeout
        self._lease = lease
        self._clock = clock
        self._on_reached = on_reached
        self._scope: asyncio.Timeout | None = None
        self.started_at = clock()

    @property
    def lost(self) -> bool:
        """Whether the engine has taken the job away."""
        return self._lease is not None and self._lease.lost

    @property
    def at(self) -> float:
        """When the handler must have ended, on the clock; infinity means never."""
        return -math.inf if self.lost else min(self._timeout_at, self._lease_at)

    @property
    def cut_short(self) -> bool:
        """Whether the end of the lease has interrupted a run that never had most of it.

        It began late, since the claim was answered late or waited here, and that is not the handler's fault.
        """
        lease = self._lease
        if lease is None or self._timeout_at <= self._lease_at or not (self.reached or self._clock() >= self._lease_at):
            return False
        return lease.end - self.started_at < TIME_TO_RUN * lease.grant.length

    @property
    def message(self) -> str:
        """Why the run was interrupted, as the failure reported to the engine."""
        if self._timeout is not None and self._timeout_at <= self._lease_at:
            return f"handler timed out after {self._timeout:.3g} s"
        ran = f"handler timed out after {self._lease_at - self.started_at:.3g} s, at the end of its lease"
        if self._lease is not None and not self._lease.renewable:
            return f"{ran}: this engine cannot renew leases; longer runs need one that can, or transport kafka"
        return f"{ran}, which was not renewed in time"

    def watched(self) -> "_Watched":
        """Return a context that gives the scope to enter at once; its end moves with the lease.

        Another scope around it rests meanwhile. Only the first that expires counts: what follows is clean-up, without a
        limit.
        """
        return _Watched(self)

    def begin(self) -> tuple[asyncio.Timeout | None, asyncio.Timeout]:
        """Return the scope around a new one, if any, and the new one."""
        outer, scope = self._scope, asyncio.timeout(self._left())
        if outer is not None:
            _move(outer, None)
        self._scope = scope
        if self._lease is not None:
            self._lease.changed = self._follow_lease
        return outer, scope

    def end(self, outer: asyncio.Timeout | None, scope: asyncio.Timeout) -> None:
        """Note how a scope has ended, and go on with the one around it."""
        self._scope = None if scope.expired() else outer
        if scope.expired():
            first, self.reached = not self.reached, True
            if first and not self.lost:
                self._on_reached()
        elif outer is not None:
            _move(outer, self._left())

    @property
    def _timeout_at(self) -> float:
        return math.inf if self._timeout is None else self.started_at + self._timeout

    @property
    def _lease_at(self) -> float:
        return math.inf if self._lease is None else self._lease.deadline

    def _left(self) -> float | None:
        at = self.at
        return None if at == math.inf else max(0.0, at - self._clock())

    def _follow_lease(self) -> None:
        if self._scope is not None:
            _move(self._scope, self._left())


class _Watched:
    """A scope of a limit. No generator: its context manager writes to the exception that passes, and some refuse."""

    __slots__ = ("_limit", "_outer", "_scope")

    def __init__(self, limit: Limit) -> None:
        self._limit = limit

    def __enter__(self) -> asyncio.Timeout:
        self._outer, self._scope = self._limit.begin()
        return self._scope

    def __exit__(self, *_: object) -> None:
        self._limit.end(self._outer, self._scope)


def _move(scope: asyncio.Timeout, left: float | None) -> None:
    with contextlib.suppress(RuntimeError):  # it has expired, or ended: a middleware made two calls at a time
        scope.reschedule(None if left is None else asyncio.get_running_loop().time() + left)
