"""Samples, once a second, how busy the slots were, how long jobs had waited and how late the event loop is."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping

from rochallor_worker.events import Event, Started
from rochallor_worker.execution.gates import Gate
from rochallor_worker.execution.slots import AllSlots

WINDOW = 15
"""Seconds that utilization, waits and loop lag cover: about the time between two scrapes."""


class Sampler:
    """Samples of the last `WINDOW` seconds; `observe` is an `Observer`. `clock` returns seconds."""

    def __init__(self, slots: AllSlots, gates: Mapping[str, Gate], clock: Callable[[], float]) -> None:
        self._slots = slots
        self._gates = gates
        self._clock = clock
        self._busy: deque[tuple[float, float]] = deque([(clock(), slots.busy_seconds)], maxlen=WINDOW + 1)
        self._lags: deque[float] = deque(maxlen=WINDOW)
        self._jobs, self._waited = 0, 0.0
        self._waits: deque[tuple[int, float]] = deque([(0, 0.0)], maxlen=WINDOW + 1)
        self._held_at: dict[str, float] = {}
        """When a breaker, or the rate of all pods, last kept jobs of a type from starting."""

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            slept_at = self._clock()
            await asyncio.sleep(1)
            now = self._clock()
            self._lags.append(max(0.0, now - slept_at - 1))
            self._busy.append((now, self._slots.busy_seconds))
            self._waits.append((self._jobs, self._waited))
            self._held_at |= {job_type: now for job_type, gate in self._gates.items() if gate.held_back}

    def observe(self, event: Event) -> None:
        """Note how long a job had waited since its type was last kept from starting: more pods shorten only that."""
        if isinstance(event, Started) and event.waited is not None:
            self._jobs += 1
            self._waited += min(event.waited, self._clock() - self._held_at.get(event.job_type, -math.inf))

    @property
    def utilization(self) -> float:
        """Mean share of busy slots over the window, 0 to 1."""
        then, busy_then = self._busy[0]
        seconds = self._clock() - then
        return (self._slots.busy_seconds - busy_then) / (self._slots.total * seconds) if seconds > 0 else 0.0

    @property
    def recent_wait(self) -> float:
        """Mean seconds that jobs had waited which started in the window; 0 if none did."""
        jobs, waited = self._waits[0]
        return (self._waited - waited) / (self._jobs - jobs) if self._jobs > jobs else 0.0

    @property
    def loop_lag(self) -> float:
        """The longest delay of the loop in the window, in seconds: a handler that blocks it shows here."""
        return max(self._lags, default=0.0)
