"""Waits between tries. Pure: the randomness is passed in. All times in seconds."""

import math
from dataclasses import dataclass
from random import Random


def is_number(value: object) -> bool:
    """Whether it is an integer or a float; True and False are integers only to Python."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow: the `first` one, then each `factor` times as long, `most` at most. In seconds.

    Raises `ValueError` for values that are no numbers above 0, a factor below 1 and a `most` below the first.
    """

    first: float = 1.0
    factor: float = 2.0
    most: float = 60.0

    def __post_init__(self) -> None:
        numbers = all(map(is_number, (self.first, self.factor, self.most)))
        if not (numbers and 0 < self.first <= self.most < math.inf and 1 <= self.factor < math.inf):
            raise ValueError(f"{self} is not possible: must be 0 < first <= most and factor >= 1, all numbers")

    def pause(self, failures: int) -> float:
        """Return the pause after a failure that `failures` others came before."""
        try:
            return min(self.most, self.first * float(self.factor) ** failures)
        except OverflowError:
            return self.most


class Jitter:
    """Decorrelated jitter: each wait is random between `base` and three times the last one, `cap` at most.

    Workers that all lost the engine at the same moment thus come back spread out over time.
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
