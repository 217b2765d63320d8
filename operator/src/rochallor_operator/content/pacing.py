"""When changed content is rolled out: a first change at once, further ones after growing pauses.

A Secret that is rotated every minute, or a ConfigMap that is written a hundred times, would otherwise replace pods
that have hardly started, and push the last good version out of the Deployment's history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from rochallor_operator.names import Key

FIRST_S: Final = 10.0
LONGEST_S: Final = 60.0
"""The shortest time between two rollouts of changed content: at first, and when it keeps changing."""


@dataclass(frozen=True)
class _Rollout:
    at: float
    pause: float
    generation: int


class Pacing:
    """The last rollout of each resource's content. An edit of the spec ends the pause: it replaces pods anyway."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: dict[Key, _Rollout] = {}

    def allows(self, key: Key, generation: int) -> bool:
        """Whether changed content may be rolled out now."""
        last = self._last.get(key)
        return last is None or generation != last.generation or self._clock() >= last.at + last.pause

    def note_rollout(self, key: Key, generation: int) -> None:
        """Note that changed content is rolled out now."""
        last, now = self._last.get(key), self._clock()
        again = last is not None and now < last.at + last.pause + LONGEST_S
        pause = min(2 * last.pause, LONGEST_S) if last is not None and again else FIRST_S
        self._last[key] = _Rollout(now, pause, generation)

    def forget(self, key: Key) -> None:
        """Drop a deleted resource."""
        self._last.pop(key, None)
