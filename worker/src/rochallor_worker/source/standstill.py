"""Notices that this process stood still: it was stopped, or a handler blocked the event loop.

Kafka meanwhile gives its partitions to others, of which it hears only some time after it goes on.
"""

from collections.abc import Callable


class Standstill:
    """No `beat` for longer than `longest` seconds is a standstill; before the first one there is none."""

    def __init__(self, longest: float, clock: Callable[[], float]) -> None:
        self._longest = longest
        self._clock = clock
        self._beat_at = float("inf")

    def noticed(self) -> bool:
        """Whether the process stood still; said once, to whoever asks first after it."""
        still = self._clock() - self._beat_at > self._longest
        if still:
            self.beat()
        return still

    def beat(self) -> None:
        """Say that the process goes on."""
        self._beat_at = self._clock()
