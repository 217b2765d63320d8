"""Shields busy pods from programs that empty nodes to save money, for resources that ask for it.

Karpenter and the cluster autoscaler leave a node alone while a pod on it has their annotation. They know no end of it,
so the time since when a pod is shielded is a third annotation: it outlives the operator's restarts, and a pod that is
busy for ever does not keep its node for ever.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rochallor_operator.names import SHIELD, SHIELDED_SINCE
from rochallor_operator.pods.busy import BusyPods, Change, name_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

_NO_SHIELD: Final = dict.fromkeys(SHIELD)


class Shields(BusyPods):
    """Annotates busy pods, each at most for the limit of its resource; after that not before it has been idle.

    `now` is the time in seconds since 1970.
    """

    field = "disruptionShield"

    def __init__(
        self,
        kube: Kube,
        is_busy: Callable[[Manifest], Awaitable[bool | None]],
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(kube, is_busy)
        self._now = now

    def changes(self, pods: Iterable[Manifest], busy: Mapping[str, bool], limit: float) -> list[Change]:
        """The pods whose annotations are wrong, and what they should be; those that became busy first.

        The limit holds for pods that don't answer, too, and for times from a clock that was ahead. A pod with such
        annotations of others is left alone.
        """
        now = self._now()
        found: list[Change] = []
        for pod in pods:
            name, there = name_of(pod), pod["metadata"].get("annotations", {})
            since = there.get(SHIELDED_SINCE)
            shielded = not SHIELD.keys().isdisjoint(there)
            if since is None:
                if busy.get(name) and not shielded:
                    found.append((name, {**SHIELD, SHIELDED_SINCE: _text(now)}))
            elif busy.get(name) is False:
                found.append((name, {**_NO_SHIELD, SHIELDED_SINCE: None}))
            elif shielded and abs(now - _seconds(since)) >= limit:
                found.append((name, _NO_SHIELD))
        return sorted(found, key=lambda change: change[1].get(SHIELDED_SINCE) is None)


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> float:
    """The time as seconds since 1970; long ago when somebody has written something else."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
