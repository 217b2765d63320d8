"""Slots for jobs: one is reserved before a job is polled for, so no job ever waits here while its lease runs."""

import asyncio
from collections.abc import Callable, Sequence


class Slots:
    """`total` slots, each of them free, reserved (for the polls in flight) or busy (with a job in flight).

    One task at a time reserves; any number occupy, release and regain. `clock` gives seconds and feeds `busy_seconds`.
    """

    def __init__(self, total: int, clock: Callable[[], float]) -> None:
        self.total = total
        self.reserved = 0
        self.busy = 0
        self.owed = 0
        """How many free slots are for jobs that wait here for one, and not for jobs that are asked for."""
        self._turn_of_others = False
        """Whether the next free slot may be reserved all the same: jobs may wait here for ever, again and again."""
        self._clock = clock
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False
        self._busy_seconds = 0.0
        self._changed_at = clock()

    @property
    def free(self) -> int:
        """Slots that are neither reserved nor busy."""
        return self.total - self.reserved - self.busy

    @property
    def busy_seconds(self) -> float:
        """Busy seconds since the start, summed over all slots: its rate over `total` is the exact utilization."""
        return self._busy_seconds + self.busy * (self._clock() - self._changed_at)

    @property
    def _reservable(self) -> int:
        """How many slots may be reserved: those that nobody waits for, or else one whenever a job here got one."""
        return max(self.free - self.owed, min(self.free, int(self._turn_of_others)))

    async def room(self) -> None:
        """Wait until a slot may be reserved, and while others are, a quarter of all: few jobs are not worth a poll of
        their own. Returns at once when closed."""
        while not self._closed and self._reservable < (self.total / 4 if self.reserved else 1):
            self._room.clear()
            await self._room.wait()

    async def reserve(self, at_most: int) -> int:
        """Wait for a free slot, then reserve all that are free, up to `at_most`. Returns 0 once closed.

        Jobs that wait here for a slot come first, but take turns with others where there are too many of them.
        """
        while not self._closed and self._reservable < 1:
            await self._room.wait()
        if self._closed:
            return 0
        count = min(self._reservable, at_most)
        self._turn_of_others = False
        self.reserved += count
        self._mark()
        return count

    def occupy(self) -> None:
        """Turn one reserved slot into a busy one."""
        self._count_busy(+1)
        self.reserved -= 1
        self._mark()

    def regain(self) -> bool:
        """Take a free slot, if there is one, for a job that had one before; return whether there was."""
        if self._closed or self.free < 1:
            return False
        self._turn_of_others = self.owed > 0
        self._count_busy(+1)
        self._mark()
        return True

    def owe(self, change: int) -> None:
        """Note that so many more jobs wait here for a slot."""
        self.owed += change
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
        if self._reservable > 0 or self._closed:
            self._room.set()
        else:
            self._room.clear()


class AllSlots:
    """The slots of all lanes of a worker, counted together."""

    def __init__(self, parts: Sequence[Slots]) -> None:
        self._parts = parts

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(slots.total for slots in self._parts)

    @property
    def busy(self) -> int:
        """How many are busy."""
        return sum(slots.busy for slots in self._parts)

    @property
    def busy_seconds(self) -> float:
        """Busy seconds since the start, summed over all."""
        return sum(slots.busy_seconds for slots in self._parts)

    @property
    def conserved(self) -> bool:
        """Whether nowhere more are in use than there are."""
        return all(slots.free >= 0 for slots in self._parts)
