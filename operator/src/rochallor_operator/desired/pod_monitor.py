"""The PodMonitor by which a Prometheus Operator finds the pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.desired.metadata import metadata
from rochallor_operator.names import WORKER_LABEL, Manifest, selector

if TYPE_CHECKING:
    from rochallor_operator.spec import Worker


def pod_monitor(worker: Worker) -> list[Manifest]:
    """The PodMonitor, or none when the spec doesn't ask for it."""
    wish = worker.spec.metrics
    if not wish.pod_monitor:
        return []
    ours = metadata(worker, worker.name)
    endpoint: Manifest = {"port": "metrics"}
    if wish.interval is not None:
        endpoint["interval"] = wish.interval
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": ours | {"labels": wish.labels | ours["labels"]},
            "spec": {
                "selector": {"matchLabels": selector(worker.name)},
                "podMetricsEndpoints": [endpoint],
                "podTargetLabels": [WORKER_LABEL],
            },
        }
    ]
