"""Names, labels and constants that the operator's objects share with the world."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

GROUP: Final = "rochallor.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "RochallorWorker"
PLURAL: Final = "rochallorworkers"

MANAGER: Final = "rochallor-operator"
"""Field manager of every server-side apply, and the value of the managed-by label."""

REPLICAS_MANAGER: Final = "rochallor-operator-replicas"
"""Field manager of a Deployment's replicas from the moment we leave them to an autoscaler until it changes them."""

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
WORKER_LABEL: Final = "rochallor.io/worker"
CONFIG_HASH: Final = "rochallor.io/config-hash"
"""Pod-template annotation with the hash of the Secrets and ConfigMaps in use: a change in them rolls the pods."""

DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Pod annotation: of the ready pods, a ReplicaSet with too many removes those of the lowest cost first; none is 0."""

SERVICE_SUFFIX: Final = "-metrics"
ACCOUNT_SUFFIX: Final = "-worker"
"""Without it, a service account of the user's application would often have the same name."""
METRICS_PORT: Final = 9090
WORKER_CONTAINER: Final = "worker"

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


class Key(NamedTuple):
    """Which resource."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Api(NamedTuple):
    """Where the API server serves a kind. group is "" for the core."""

    group: str
    version: str
    plural: str


APIS: Final = {
    KIND: Api(GROUP, VERSION, PLURAL),
    "ConfigMap": Api("", "v1", "configmaps"),
    "Secret": Api("", "v1", "secrets"),
    "Pod": Api("", "v1", "pods"),
    "Event": Api("", "v1", "events"),
    "Lease": Api("coordination.k8s.io", "v1", "leases"),
    "Deployment": Api("apps", "v1", "deployments"),
    "Service": Api("", "v1", "services"),
    "ServiceAccount": Api("", "v1", "serviceaccounts"),
    "PodDisruptionBudget": Api("policy", "v1", "poddisruptionbudgets"),
    "HorizontalPodAutoscaler": Api("autoscaling", "v2", "horizontalpodautoscalers"),
    "ScaledObject": Api("keda.sh", "v1alpha1", "scaledobjects"),
    "TriggerAuthentication": Api("keda.sh", "v1alpha1", "triggerauthentications"),
    "PodMonitor": Api("monitoring.coreos.com", "v1", "podmonitors"),
}
AUTOSCALERS: Final = ("HorizontalPodAutoscaler", "ScaledObject")
FOREIGN: Final = ("ScaledObject", "TriggerAuthentication", "PodMonitor")
"""Kinds of children that come from elsewhere: a cluster need not know them."""
OPTIONAL: Final = ("HorizontalPodAutoscaler", "PodDisruptionBudget", *FOREIGN)
"""Kinds of children that a spec may ask for or not. All bear the worker's name."""
CHILDREN: Final = ("Deployment", "Service", "ServiceAccount", "HorizontalPodAutoscaler", "PodDisruptionBudget")
"""Kinds of children that every cluster knows."""


def service_name(worker: str) -> str:
    """Name of the headless Service over a worker's pods. The CRD keeps worker names short enough for it."""
    return worker + SERVICE_SUFFIX


def account_name(worker: str) -> str:
    """Name of the service account of a worker's pods."""
    return worker + ACCOUNT_SUFFIX


def worker_name(kind: str, child: str) -> str:
    """Whose a child of that name would be."""
    return child.removesuffix({"Service": SERVICE_SUFFIX, "ServiceAccount": ACCOUNT_SUFFIX}.get(kind, ""))


def selector(worker: str) -> dict[str, str]:
    """The labels that select a worker's pods. A Deployment's selector can never change, so neither can these."""
    return {WORKER_LABEL: worker}


def labels(worker: str) -> dict[str, str]:
    """The labels of everything the operator makes for a worker."""
    return {
        "app.kubernetes.io/name": "rochallor-worker",
        "app.kubernetes.io/instance": worker,
        MANAGED_BY_LABEL: MANAGER,
        **selector(worker),
    }
