"""Room to run jobs: a slot is reserved before a job is asked for, so no job ever waits here while its lease runs."""

import asyncio
from collections.abc import Callable


class Slots:
    """`total` slots, each at any time free, reserved (a poll is asking for a job) or busy (a job runs).

    One task reserves; any number occupy and release. `clock` gives seconds and feeds `busy_seconds`.
    """

    def __init__(self, total: int, clock: Callable[[], float]) -> None:
        self.total = total
        self.reserved = 0
        self.busy = 0
        self._clock = clock
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self._busy_seconds = 0.0
        self._changed_at = clock()

    @property
    def free(self) -> int:
        """Slots nobody has reserved or occupied."""
        return self.total - self.reserved - self.busy

    @property
    def busy_seconds(self) -> float:
        """Seconds of busy slots since the start, summed over slots: its rate over `total` is the exact utilization."""
        return self._busy_seconds + self.busy * (self._clock() - self._changed_at)

    async def reserve(self, at_most: int) -> int:
        """Wait for a free slot, then reserve all that are free, up to `at_most`. Returns 0 once closed."""
        await self._room.wait()
        if self._closed:
            return 0
        count = min(self.free, at_most)
        self.reserved += count
        self._mark()
        return count

    def occupy(self) -> None:
        """Turn one reserved slot into a busy one."""
        self._count_busy(+1)
        self.reserved -= 1
        self._mark()

    def give_back(self, count: int) -> None:
        """Free `count` reserved slots for which no job came."""
        self.reserved -= count
        self._mark()

    def release(self) -> None:
        """Free one busy slot."""
        self._count_busy(-1)
        self._mark()

    def close(self) -> None:
        """Reserve no more: a waiting `reserve` returns 0."""
        self._closed = True
        self._room.set()

    def _count_busy(self, change: int) -> None:
        now = self._clock()
        self._busy_seconds += self.busy * (now - self._changed_at)
        self._changed_at = now
        self.busy += change

    def _mark(self) -> None:
        if self.free > 0 or self._closed:
            self._room.set()
        else:
            self._room.clear()
