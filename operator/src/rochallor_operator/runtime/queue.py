"""A coalescing work queue: many triggers, one run per key at a time, retries with backoff, and nothing forgotten."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, TypeVar

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Backoff:
    """Exponential delays in seconds: first, first*factor, … up to cap, each shortened at random by up to jitter."""

    first: float
    cap: float
    factor: float = 2.0
    jitter: float = 0.25

    def delay(self, attempt: int) -> float:
        """Seconds before retry number attempt (0 is the first)."""
        # The exponent is bounded, because a float can't hold 2.0 ** 1024.
        full = min(self.cap, self.first * self.factor ** min(attempt, 64))
        return full * (1 - self.jitter * random.random())  # noqa: S311 (spreading load, not a secret)


class Result(Enum):
    """The result of a run, which decides when its key runs again."""

    SETTLED = auto()  # when something happens
    UNSETTLED = auto()  # soon, at growing intervals, because no event may come
    REFUSED = auto()  # later, at intervals that grow further: someone has to fix something
    FAILED = auto()  # as late, because of a transient error


class WorkQueue(Generic[K]):
    """Runs `work(key)` for added keys.

    - A key that is added while it waits runs once; one that is added while it runs, runs once more afterwards.
    - Runs of one key never overlap; up to `workers` keys run at the same time.
    - A key runs again no sooner than `pause` seconds after its last run began. Groups of keys take turns: a key waits
      for at most one key of each other group. So any number of keys of one group delay no other group.
    - A FAILED or REFUSED run is retried with an exponential backoff per key, an UNSETTLED one with a shorter backoff of
      its own. Adding the key ends the wait; a SETTLED run resets the backoff. A run that raises is a bug: it is logged
      with its traceback and counts as FAILED.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[Result]],
        *,
        workers: int = 8,
        pause: float = 0.0,
        group: Callable[[K], Hashable] = lambda _: None,
        after_error: Backoff = Backoff(first=0.5, cap=60),
        while_unsettled: Backoff = Backoff(first=1.5, cap=10, factor=1.5),
    ) -> None:
        self._work = work
        self._workers: Final = workers
        self._pause: Final = pause
        self._group = group
        self._after_error = after_error
        self._while_unsettled = while_unsettled
        self._ready: dict[Hashable, deque[K]] = {}
        """The waiting keys by group, the group whose turn is next first."""
        self._waiting = asyncio.Semaphore(0)
        self._queued: set[K] = set()
        self._running: dict[K, float] = {}
        self._resting: dict[K, asyncio.TimerHandle] = {}
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._attempts: dict[K, tuple[Backoff, int]] = {}

    @property
    def depth(self) -> int:
        """Keys waiting for a free worker, or for the end of their last run or its pause."""
        return len(self._queued) + len(self._again)

    @property
    def longest_run(self) -> float:
        """Seconds since the oldest of the current runs began; 0 when there is none."""
        return asyncio.get_running_loop().time() - min(self._running.values()) if self._running else 0.0

    def add(self, key: K) -> None:
        """Run the key as soon as possible."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._running or key in self._resting:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.setdefault(self._group(key), deque()).append(key)
            self._waiting.release()

    async def run(self) -> None:
        """Work until cancelled, with the current runs: the next start lists everything again."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._serve(), name=f"reconcile-{number}")
        finally:
            for timer in [*self._timers.values(), *self._resting.values()]:
                timer.cancel()

    async def _serve(self) -> None:
        while True:
            await self._waiting.acquire()
            key = self._next()
            self._queued.discard(key)
            self._running[key] = asyncio.get_running_loop().time()
            backoff = await self._attempt(key)
            began = self._running.pop(key)
            self._plan(key, backoff, began + self._pause)

    def _next(self) -> K:
        group, keys = next(iter(self._ready.items()))
        key = keys.popleft()
        del self._ready[group]
        if keys:
            self._ready[group] = keys  # behind all others
        return key

    async def _attempt(self, key: K) -> Backoff | None:
        try:
            result = await self._work(key)
        except Exception:  # the queue survives any fault of one key
            log.exception("unexpected error", extra={"resource": str(key)})
            result = Result.FAILED
        match result:
            case Result.SETTLED:
                return None
            case Result.UNSETTLED:
                return self._while_unsettled
            case Result.REFUSED | Result.FAILED:
                return self._after_error

    def _plan(self, key: K, backoff: Backoff | None, not_before: float) -> None:
        loop = asyncio.get_running_loop()
        if backoff is None:
            self._attempts.pop(key, None)
        if loop.time() < not_before:
            self._resting[key] = loop.call_at(not_before, self._rested, key)
        if key in self._again:
            if key not in self._resting:
                self._rested(key)
        elif backoff is not None:
            last, attempt = self._attempts.get(key, (backoff, -1))
            attempt = attempt + 1 if last is backoff else 0
            self._attempts[key] = (backoff, attempt)
            self._timers[key] = loop.call_later(backoff.delay(attempt), self.add, key)

    def _rested(self, key: K) -> None:
        self._resting.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
