"""A worker's pods over time: their deletion costs, and the order in which they are deleted."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cluster.kubectl import Kubectl

COST = r"{.metadata.annotations.controller\.kubernetes\.io/pod-deletion-cost}"
LINE = f'-o=jsonpath={{.metadata.name}},{COST},{{.metadata.deletionTimestamp}}{{"\\n"}}'


class Pods:
    """The costs of the pods, and which of them were deleted, kept up to date."""

    def __init__(self) -> None:
        self.costs: dict[str, str] = {}
        """By name; "" for none."""
        self.gone: list[str] = []
        """In the order of their deletion."""
        self._timeline: list[str] = []
        self._began = time.monotonic()
        self._changed = threading.Condition()

    def until(self, wanted: Callable[[], bool], timeout: float) -> None:
        """Wait until a condition holds."""
        with self._changed:
            assert self._changed.wait_for(wanted, timeout), self

    def until_gone(self, count: int, timeout: float) -> None:
        """Wait until `count` pods were deleted."""
        self.until(lambda: len(self.gone) == count, timeout)

    def read(self, lines: Iterable[str]) -> None:
        """Read the lines of a watch until it ends."""
        for line in lines:
            name, cost, deleted = line.rstrip("\n").split(",")
            with self._changed:
                if self.costs.get(name, "") != cost:
                    self._add(f"{name} costs {cost or 'nothing'}")
                self.costs[name] = cost
                if deleted and name not in self.gone:
                    self._add(f"{name} deleted")
                    self.gone.append(name)
                self._changed.notify_all()

    def _add(self, what: str) -> None:
        self._timeline.append(f"{what} at {time.monotonic() - self._began:.0f} s")

    def __str__(self) -> str:
        return ", ".join(self._timeline)


@contextmanager
def watch(kubectl: Kubectl, worker: str) -> Iterator[Pods]:
    """Follow a worker's pods during the block."""
    pods = Pods()
    with kubectl.following(pods.read, "get", "pods", f"--selector=rochallor.io/worker={worker}", "--watch", LINE):
        yield pods
