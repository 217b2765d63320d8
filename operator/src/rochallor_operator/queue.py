"""A coalescing work queue: many triggers, one run per key at a time, and nothing forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from rochallor_operator.backoff import Backoff

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


class Outcome(Enum):
    """What a run says about when its key should run again."""

    SETTLED = auto()  # when something happens
    UNSETTLED = auto()  # soon, at growing intervals, because no event may come
    REFUSED = auto()  # later, at intervals that grow further: someone has to put something right
    FAILED = auto()  # as late, because of trouble that passes


class WorkQueue(Generic[K]):
    """Runs `work(key)` for added keys.

    - A key that is added while it waits is run once; one that is added while it runs is run once more afterwards.
    - Runs of one key never overlap; up to `workers` keys run at the same time.
    - A FAILED or REFUSED run is tried again after an exponential back-off per key, an UNSETTLED one after a shorter
      back-off of its own. Adding the key ends that waiting; a SETTLED run ends the back-off's growth. A run that raises
      is a bug: it is logged with its traceback and counts as FAILED.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[Outcome]],
        *,
        workers: int = 8,
        after_error: Backoff = Backoff(first=0.5, cap=60),  # noqa: B008 (frozen)
        while_unsettled: Backoff = Backoff(first=1.5, cap=10, factor=1.5),  # noqa: B008 (frozen)
    ) -> None:
        self._work = work
        self._workers: Final = workers
        self._after_error = after_error
        self._while_unsettled = while_unsettled
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._queued: set[K] = set()
        self._running: dict[K, float] = {}
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._attempts: dict[K, tuple[Backoff, int]] = {}

    @property
    def depth(self) -> int:
        """Keys that wait for a free worker."""
        return len(self._queued) + len(self._again)

    @property
    def longest_run(self) -> float:
        """Seconds for which the oldest of the present runs has been running; 0 when there is none."""
        return asyncio.get_running_loop().time() - min(self._running.values()) if self._running else 0.0

    def add(self, key: K) -> None:
        """Run the key as soon as possible."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.put_nowait(key)

    async def run(self) -> None:
        """Work until cancelled. What runs then is cancelled too: the next start lists everything again."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._workers):
                    group.create_task(self._serve(), name=f"reconcile-{number}")
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _serve(self) -> None:
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._running[key] = asyncio.get_running_loop().time()
            backoff = await self._attempt(key)
            del self._running[key]
            self._plan(key, backoff)

    async def _attempt(self, key: K) -> Backoff | None:
        try:
            outcome = await self._work(key)
        except Exception:  # the queue outlives any fault of one key
            log.exception("unexpected error", extra={"key": key})
            outcome = Outcome.FAILED
        match outcome:
            case Outcome.SETTLED:
                return None
            case Outcome.UNSETTLED:
                return self._while_unsettled
            case Outcome.REFUSED | Outcome.FAILED:
                return self._after_error

    def _plan(self, key: K, backoff: Backoff | None) -> None:
        if backoff is None:
            self._attempts.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif backoff is not None:
            last, attempt = self._attempts.get(key, (backoff, -1))
            attempt = attempt + 1 if last is backoff else 0
            self._attempts[key] = (backoff, attempt)
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(backoff.delay(attempt), self.add, key)
