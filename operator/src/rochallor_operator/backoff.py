"""How long to wait before the next try."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential delays in seconds: first, first*factor, … up to cap, each shortened at random by up to jitter."""

    first: float
    cap: float
    factor: float = 2.0
    jitter: float = 0.25

    def delay(self, attempt: int) -> float:
        """Seconds before try number attempt (0 is the first wait)."""
        # The exponent is bounded, because a float can't hold 2.0 ** 1024.
        full = min(self.cap, self.first * self.factor ** min(attempt, 64))
        return full * (1 - self.jitter * random.random())  # noqa: S311 (spreading load, not a secret)
