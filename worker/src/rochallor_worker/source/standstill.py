"""Notices that this process stood still: it was stopped, its machine slept, or a handler blocked the event loop.

Kafka meanwhile gives its partitions to others, of which it hears only some time after it goes on.
"""

from collections.abc import Callable


class Standstill:
    """Seconds: no `beat` for longer than `longest` is a standstill; `settling` after it, all news have come."""

    def __init__(self, longest: float, settling: float, clock: Callable[[], float]) -> None:
        self._longest = longest
        self._settling = settling
        self._clock = clock
        self._beat_at = float("inf")
        self._doubtful_until = float("-inf")

    @property
    def doubtful(self) -> bool:
        """Whether what was known before may no longer be so. Whoever asks first after a standstill notices it."""
        now = self._clock()
        if now - self._beat_at > self._longest:
            self._doubtful_until = now + self._settling
            self._beat_at = now
        return now < self._doubtful_until

    def beat(self) -> None:
        """Say that the process goes on."""
        _ = self.doubtful
        self._beat_at = self._clock()
