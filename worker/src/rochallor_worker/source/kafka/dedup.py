"""Which events have been processed already, by their dedup id (pure).

The engine's relay publishes an event again after a restart, with the same dedup id; a retry is a new event with a new
one (engine.md). A repeat of an event in flight shares its fate, since until the engine has accepted an outcome nobody
knows whether the event must be processed again.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

P = TypeVar("P")

MAX_REMEMBERED = 100_000
"""Most events remembered; the oldest are forgotten (some 15 MB)."""


class Dedup(Generic[P]):
    """Events in flight, with the positions they came at, and those that ended in the last `window` seconds."""

    def __init__(self, window: float, clock: Callable[[], float], max_remembered: int = MAX_REMEMBERED) -> None:
        self._window = window
        self._clock = clock
        self._max_remembered = max_remembered
        self._in_flight: dict[str, list[P]] = {}
        self._ended: OrderedDict[str, float] = OrderedDict()

    def begin(self, dedup_id: str, position: P) -> bool:
        """Note that an event is in flight; False for a repeat of one that is already, and that will end with it."""
        if dedup_id in self._in_flight:
            self._in_flight[dedup_id].append(position)
            return False
        self._in_flight[dedup_id] = [position]
        return True

    def ended(self, dedup_id: str) -> bool:
        """Whether this event was processed within the window."""
        self._forget_old()
        return dedup_id in self._ended

    def end(self, dedup_id: str) -> list[P]:
        """Note that an event in flight is processed; return its positions, those of its repeats included."""
        self._ended[dedup_id] = self._clock()
        self._forget_old()
        return self._in_flight.pop(dedup_id)

    def drop(self, dedup_id: str) -> list[P]:
        """Forget an event in flight that will not be processed here; return its positions."""
        return self._in_flight.pop(dedup_id)

    def _forget_old(self) -> None:
        oldest = self._clock() - self._window
        while self._ended and (len(self._ended) > self._max_remembered or next(iter(self._ended.values())) <= oldest):
            self._ended.popitem(last=False)
