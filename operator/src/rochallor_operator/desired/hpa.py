"""The HorizontalPodAutoscaler of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.names import Manifest, metadata
from rochallor_operator.spec.sections import seconds

if TYPE_CHECKING:
    from rochallor_operator.spec.sections import Autoscaling
    from rochallor_operator.spec.worker import Worker


def horizontal_pod_autoscaler(worker: Worker, wish: Autoscaling) -> Manifest:
    """Scales on what the pods report, the share of busy slots and how long jobs wait, and on the backlog. The metric
    that asks for most pods counts, and pods stay while one is missing."""
    metrics = [_of_pods("rochallor_worker_utilization_ratio", wish.target_utilization * 10)]
    if wish.target_wait is not None:
        metrics.append(_of_pods("rochallor_worker_recent_wait_seconds", round(seconds(wish.target_wait) * 1000)))
    if wish.backlog is not None:
        metrics.append(_backlog(worker, wish.backlog.target or worker.spec.parallelism))
    spec: Manifest = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": worker.name},
        "minReplicas": wish.min_replicas,
        "maxReplicas": wish.max_replicas,
        "metrics": metrics,
    }
    if wish.behavior is not None:
        spec["behavior"] = behavior(wish.behavior)
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(worker, worker.name),
        "spec": spec,
    }


def behavior(asked: dict[str, Manifest]) -> Manifest:
    """The rules for both directions. A tolerance becomes text: KEDA's definition has no numbers with a fraction."""
    return {
        direction: rules | ({"tolerance": str(rules["tolerance"])} if "tolerance" in rules else {})
        for direction, rules in asked.items()
    }


def _of_pods(name: str, thousandths: int) -> Manifest:
    """A metric of the pods, by its mean."""
    target = {"type": "AverageValue", "averageValue": f"{thousandths}m"}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}


def _backlog(worker: Worker, per_pod: int) -> Manifest:
    """The jobs that wait and run, as the operator exports them; while they are unknown there is no such metric."""
    metric = {"name": "rochallor_operator_backlog_jobs", "selector": {"matchLabels": {"worker": worker.name}}}
    target = {"type": "AverageValue", "averageValue": str(per_pod)}
    return {"type": "External", "external": {"metric": metric, "target": target}}
