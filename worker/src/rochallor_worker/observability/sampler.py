"""Samples, once a second, how busy the slots were and how late the event loop is."""

import asyncio
from collections import deque
from collections.abc import Callable

from rochallor_worker.execution.slots import AllSlots

WINDOW = 15
"""Seconds that utilization and loop lag cover: about the time between two scrapes."""


class Sampler:
    """Samples of the last `WINDOW` seconds. `clock` returns seconds."""

    def __init__(self, slots: AllSlots, clock: Callable[[], float]) -> None:
        self._slots = slots
        self._clock = clock
        self._busy: deque[tuple[float, float]] = deque([(clock(), slots.busy_seconds)], maxlen=WINDOW + 1)
        self._lags: deque[float] = deque(maxlen=WINDOW)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            slept_at = self._clock()
            await asyncio.sleep(1)
            now = self._clock()
            self._lags.append(max(0.0, now - slept_at - 1))
            self._busy.append((now, self._slots.busy_seconds))

    @property
    def utilization(self) -> float:
        """Mean share of busy slots over the window, 0 to 1."""
        then, busy_then = self._busy[0]
        seconds = self._clock() - then
        return (self._slots.busy_seconds - busy_then) / (self._slots.total * seconds) if seconds > 0 else 0.0

    @property
    def loop_lag(self) -> float:
        """The longest delay of the loop in the window, in seconds: a handler that blocks it shows here."""
        return max(self._lags, default=0.0)
