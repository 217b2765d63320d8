"""The replicas of a Deployment over time."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cluster.kubectl import Kubectl


class Replicas:
    """The values of a Deployment's `spec.replicas`, and when each was set."""

    def __init__(self) -> None:
        self.changes: list[tuple[float, int]] = []
        """Seconds since the watch began, and the number from then on."""
        self._began = time.monotonic()
        self._changed = threading.Condition()

    def until(self, enough: Callable[[int], bool], timeout: float) -> float:
        """Wait for a number of pods; return when it was set, in seconds since the watch began."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.changes and enough(self.changes[-1][1]), timeout), self
            return self.changes[-1][0]

    def change_within(self, seconds: float, since: int) -> bool:
        """Wait up to `seconds` for more than `since` changes; return whether there were."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.changes) > since, seconds)

    def read(self, values: Iterable[str]) -> None:
        """Read values until there are no more."""
        for value in values:
            with self._changed:
                replicas = int(value)
                if not self.changes or self.changes[-1][1] != replicas:
                    self.changes.append((time.monotonic() - self._began, replicas))
                    self._changed.notify_all()

    def __str__(self) -> str:
        return ", ".join(f"{replicas} pods at {at:.0f} s" for at, replicas in self.changes)


def stay(watched: Iterable[Replicas], seconds: float) -> None:
    """Check that none of them changes for `seconds`."""
    over_at = time.monotonic() + seconds
    for each, since in [(each, len(each.changes)) for each in watched]:
        assert not each.change_within(max(0.0, over_at - time.monotonic()), since), each


@contextmanager
def watch(kubectl: Kubectl, deployment: str) -> Iterator[Replicas]:
    """Follow a Deployment's replicas during the block."""
    replicas = Replicas()
    with kubectl.following(
        replicas.read, "get", f"deployment/{deployment}", "--watch", '-o=jsonpath={.spec.replicas}{"\\n"}'
    ):
        yield replicas
