"""Waits between tries. Pure: randomness is passed in. All times in seconds."""

from random import Random


class Backoff:
    """Decorrelated jitter: each wait is random between `base` and three times the last one, `cap` at most.

    Many workers that lost the engine at the same moment thus come back spread out.
    """

    def __init__(self, base: float, cap: float, random: Random) -> None:
        self._base = base
        self._cap = cap
        self._random = random
        self._last = base

    def next(self) -> float:
        """Return the next wait."""
        self._last = min(self._cap, self._random.uniform(self._base, self._last * 3))
        return self._last

    def reset(self) -> None:
        """Start over after a success."""
        self._last = self._base
