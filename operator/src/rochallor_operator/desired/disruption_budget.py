"""How many pods may be stopped at the same time when nodes are drained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.desired.metadata import metadata
from rochallor_operator.names import Manifest, selector

if TYPE_CHECKING:
    from rochallor_operator.spec import Worker


def disruption_budget(worker: Worker) -> list[Manifest]:
    """The PodDisruptionBudget, or none: for a single pod it could only block the drain of its node."""
    wish = worker.spec.disruption_budget
    if wish is None or worker.most_replicas <= 1:
        return []
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(worker, worker.name),
            "spec": {"maxUnavailable": wish.max_unavailable, "selector": {"matchLabels": selector(worker.name)}},
        }
    ]
