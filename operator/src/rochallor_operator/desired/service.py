"""The headless Service by which Prometheus finds the pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.desired.metadata import metadata
from rochallor_operator.names import METRICS_PORT, Manifest, selector, service_name

if TYPE_CHECKING:
    from rochallor_operator.spec import Worker


def service(worker: Worker) -> Manifest:
    """The worker's Service. Pods that aren't ready are listed too: their metrics say why."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(worker, service_name(worker.name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(worker.name),
            "ports": [{"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"}],
        },
    }
