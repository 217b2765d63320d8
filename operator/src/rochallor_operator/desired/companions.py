"""The objects beside a worker's Deployment: ServiceAccount, Service, PodDisruptionBudget, PodMonitor, ConfigMap,
Secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rochallor_operator.desired.environment import PODS_KEY
from rochallor_operator.names import (
    CANARY_LABEL,
    INSTANCE_LABEL,
    METRICS_PORT,
    WORKER_LABEL,
    Manifest,
    account_name,
    copy_name,
    fleet,
    metadata,
    scale_name,
    selector,
    service_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rochallor_operator.spec.worker import Worker


def service_account(worker: Worker) -> Manifest:
    """An account without any rights in Kubernetes: a worker never talks to it. A cloud may give the account rights."""
    annotations = worker.spec.service_account.annotations
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(worker, account_name(worker.name)) | ({"annotations": annotations} if annotations else {}),
        "automountServiceAccountToken": False,
    }


def pods_of(worker: Worker) -> dict[str, str]:
    """The labels that select all pods of a worker: with canary rollouts, those of the canary too."""
    return fleet(worker.name) if worker.spec.rollout.canary else selector(worker.name)


def service(worker: Worker) -> Manifest:
    """The headless Service by which Prometheus finds the pods. Unready pods are listed too: their metrics say why."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(worker, service_name(worker.name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": pods_of(worker),
            "ports": [{"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"}],
        },
    }


def disruption_budget(worker: Worker) -> list[Manifest]:
    """The PodDisruptionBudget, or none: for a single pod it could only block the drain of its node."""
    budget = worker.spec.disruption_budget
    if budget is None or worker.most_replicas <= 1:
        return []
    return [
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(worker, worker.name),
            "spec": {
                "maxUnavailable": budget.max_unavailable,
                "selector": {"matchLabels": pods_of(worker)},
                # While the engine is unreachable no pod is ready, by design; nodes must be drainable all the same.
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
            },
        }
    ]


def pod_monitor(worker: Worker) -> list[Manifest]:
    """The PodMonitor by which a Prometheus Operator finds the pods, or none when the spec doesn't ask for it."""
    metrics = worker.spec.metrics
    if not metrics.pod_monitor:
        return []
    ours = metadata(worker, worker.name)
    endpoint: Manifest = {"port": "metrics"}
    if metrics.interval is not None:
        endpoint["interval"] = metrics.interval
    labels = [WORKER_LABEL]
    if worker.spec.rollout.canary:
        # A canary's pods lack the worker's label; their series have it all the same, and one more.
        labels.append(CANARY_LABEL)
        source = "__meta_kubernetes_pod_label_" + _series(INSTANCE_LABEL)
        endpoint["relabelings"] = [{"sourceLabels": [source], "targetLabel": _series(WORKER_LABEL)}]
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": ours | {"labels": metrics.labels | ours["labels"]},
            "spec": {
                "selector": {"matchLabels": pods_of(worker)},
                "podMetricsEndpoints": [endpoint],
                "podTargetLabels": labels,
            },
        }
    ]


def _series(label: str) -> str:
    """The name that Prometheus gives a label of Kubernetes."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", label)


def copies(worker: Worker, lent: Mapping[str, Mapping[str, str]]) -> list[Manifest]:
    """The Secrets with what a connection of the cluster lends the worker, by section."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata(worker, copy_name(worker.name, section)),
            "type": "Opaque",
            "data": dict(data),
        }
        for section, data in lent.items()
    ]


def scale(worker: Worker, live: Manifest | None, canary: Manifest | None = None) -> Manifest | None:
    """The ConfigMap with the number of ready pods of the live Deployments, at least 1; None when no limit needs it."""
    if not worker.spec.counts_pods:
        return None
    ready = sum(one.get("status", {}).get("readyReplicas", 0) for one in (live, canary) if one is not None)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(worker, scale_name(worker.name)),
        "data": {PODS_KEY: str(max(1, ready))},
    }
