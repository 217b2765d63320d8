"""The deletion cost of pods, for resources that ask for it: idle pods are removed before busy ones.

A ReplicaSet with too many pods removes unready pods first, then those of the lowest cost. A busy pod gets a cost, an
idle pod none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rochallor_operator.names import DELETION_COST
from rochallor_operator.pods.busy import BusyPods, Change, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rochallor_operator.names import Manifest

BUSY: Final = "1"
"""The cost of a busy pod. Any other value is somebody else's and left alone."""


class DeletionCosts(BusyPods):
    """Gives busy pods a cost, for as long as they are busy."""

    field = "autoscaling.podDeletionCost"

    def changes(self, pods: Iterable[Manifest], busy: Mapping[str, bool], limit: float) -> list[Change]:
        """The pods whose cost is wrong, and what it should be; those that became busy first."""
        del limit  # a cost keeps nobody from anything
        found: list[Change] = []
        for pod in pods:
            name, cost = name_of(pod), pod["metadata"].get("annotations", {}).get(DELETION_COST)
            wanted = BUSY if busy.get(name) else None
            if name in busy and cost in {BUSY, None} and cost != wanted:
                found.append((name, {DELETION_COST: wanted}))
        return sorted(found, key=lambda change: change[1][DELETION_COST] is None)
