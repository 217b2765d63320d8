"""The autoscaler of a worker: a HorizontalPodAutoscaler, or KEDA's objects (keda.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.desired.keda import scaled_object, trigger_authentication
from rochallor_operator.names import Manifest, metadata

if TYPE_CHECKING:
    from rochallor_operator.spec.sections import Autoscaling
    from rochallor_operator.spec.worker import Worker


def autoscaler(worker: Worker, *, stopped: bool = False) -> list[Manifest]:
    """The objects in the order in which they are applied, the autoscaler itself last; none without autoscaling.

    `stopped`: the Deployment is scaled to zero now.
    """
    wish = worker.autoscaling
    if wish is None:
        return []
    if wish.provider == "hpa":
        return [horizontal_pod_autoscaler(worker, wish)]
    authentication = trigger_authentication(worker, wish)
    return [*([authentication] if authentication is not None else []), scaled_object(worker, wish, stopped=stopped)]


def horizontal_pod_autoscaler(worker: Worker, wish: Autoscaling) -> Manifest:
    """Scales on the mean share of busy slots that the pods report."""
    spec: Manifest = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": worker.name},
        "minReplicas": wish.min_replicas,
        "maxReplicas": wish.max_replicas,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "rochallor_worker_utilization_ratio"},
                    "target": {"type": "AverageValue", "averageValue": f"{wish.target_utilization * 10}m"},
                },
            }
        ],
    }
    if wish.behavior is not None:
        spec["behavior"] = wish.behavior
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(worker, worker.name),
        "spec": spec,
    }
