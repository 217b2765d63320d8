"""Names, labels, metadata and API paths of the objects that the operator makes and reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from rochallor_operator.spec.worker import Worker

GROUP: Final = "rochallor.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "RochallorWorker"
PLURAL: Final = "rochallorworkers"
CONNECTION: Final = "EngineConnection"
CLUSTER_CONNECTION: Final = "ClusterEngineConnection"
CONNECTIONS: Final = (CONNECTION, CLUSTER_CONNECTION)
"""Kinds of what resources name in engineRef. An older CRD release lacks them."""

MANAGER: Final = "rochallor-operator"
"""Field manager of every server-side apply, and the value of the managed-by label."""

REPLICAS_MANAGER: Final = "rochallor-operator-replicas"
"""Field manager of a Deployment's replicas from the moment we leave them to an autoscaler until it changes them."""

CONTENDER: Final = "rochallor-operator-contender"
"""Field manager of what an operator writes into the status of a resource that another operator manages."""

INSTANCE_LABEL: Final = "app.kubernetes.io/instance"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
WORKER_LABEL: Final = "rochallor.io/worker"
CONFIG_HASH: Final = "rochallor.io/config-hash"
"""Pod-template annotation with the hash of the Secrets and ConfigMaps in use: a change in them rolls the pods."""
CODE_HASH: Final = "rochallor.io/code"
"""Pod-template label with the hash of the handlers from a ConfigMap. ReplicaSets carry it too, which shows which copies
of the code are in use."""

ACCOUNT_HASH: Final = "rochallor.io/account-hash"
"""Pod-template annotation with the hash of the ServiceAccount's annotations: clouds read them when a pod starts, so a
change rolls the pods."""
CANARY_LABEL: Final = "rochallor.io/canary"
"""Label of a canary's pods, with the worker's name. They don't have WORKER_LABEL: the stable Deployment, an autoscaler
and `kubectl scale` select by it."""
REVISION_LABEL: Final = "rochallor.io/revision"
"""Label of a canary's pods with the version on trial."""
PROMOTE: Final = "rochallor.io/promote"
ABORT: Final = "rochallor.io/abort"
"""Annotations of a resource, with the version that a person promotes or aborts."""

DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Pod annotation: a ReplicaSet with too many ready pods removes those of the lowest cost first; no annotation is 0."""

SHIELD: Final = {
    "karpenter.sh/do-not-disrupt": "true",
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
}
"""Pod annotations that keep Karpenter and the cluster autoscaler from emptying the pod's node to save money."""
SHIELDED_SINCE: Final = "rochallor.io/shielded-since"
"""Pod annotation with the time when the operator set them. It stays when they have expired, until the pod is idle."""

READY_PODS: Final = "rochallor.io/ready-pods"
"""Pod annotation with the number of ready pods. Nobody reads it, but a change of a pod makes the kubelet refresh its
files, among them the one with that number."""

TEMPLATE_HASH: Final = "pod-template-hash"
"""Label that distinguishes the pods of a Deployment's ReplicaSets."""

CANARY_SUFFIX: Final = "-canary"
SERVICE_SUFFIX: Final = "-metrics"
ACCOUNT_SUFFIX: Final = "-worker"
"""Without it, a service account of the user's application would often have the same name."""
METRICS_PORT: Final = 9090
WORKER_CONTAINER: Final = "worker"

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


class Key(NamedTuple):
    """Namespace and name of a resource."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def why_no_name(kind: str, name: str) -> str | None:
    """Why no Secret or ConfigMap can have this name, which must not get into a URL path then; None when one can."""
    if len(name) <= 253 and _NAME.fullmatch(name):
        return None
    return f"no {kind} can be named {name!r}; a name has 1 to 253 characters of a-z, 0-9, '-' and '.'"


class ObjectRef(NamedTuple):
    """An object that resources use. namespace is "" for a kind of the whole cluster."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """For people who know the namespace."""
        return f"{self.kind} {self.name!r}"


class Release(NamedTuple):
    """An installed operator; all its replicas share one release."""

    name: str
    """Its namespace and name, as NAMESPACE/NAME."""
    worker_image: str
    """For resources that name no image."""
    key: bytes
    """Of the hashes that are visible on the pods."""

    @property
    def namespace(self) -> str:
        """Its own namespace."""
        return self.name.partition("/")[0]


class Api(NamedTuple):
    """Where the API server serves a kind. group is "" for the core."""

    group: str
    version: str
    plural: str


APIS: Final = {
    KIND: Api(GROUP, VERSION, PLURAL),
    CONNECTION: Api(GROUP, VERSION, "engineconnections"),
    CLUSTER_CONNECTION: Api(GROUP, VERSION, "clusterengineconnections"),
    "Namespace": Api("", "v1", "namespaces"),
    "ConfigMap": Api("", "v1", "configmaps"),
    "Secret": Api("", "v1", "secrets"),
    "Pod": Api("", "v1", "pods"),
    "Event": Api("", "v1", "events"),
    "Lease": Api("coordination.k8s.io", "v1", "leases"),
    "Deployment": Api("apps", "v1", "deployments"),
    "ControllerRevision": Api("apps", "v1", "controllerrevisions"),
    "ReplicaSet": Api("apps", "v1", "replicasets"),
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
"""Kinds of children that other projects define: a cluster may lack them."""
KEDA: Final = frozenset({"ScaledObject", "TriggerAuthentication"})
OPTIONAL: Final = ("HorizontalPodAutoscaler", "PodDisruptionBudget", *FOREIGN)
"""Kinds of children that exist only if the spec asks for them. All have the worker's name."""
CHILDREN: Final = ("Deployment", "Service", "ServiceAccount", "HorizontalPodAutoscaler", "PodDisruptionBudget")
"""Kinds of children that every cluster has."""


def service_name(worker: str) -> str:
    """Name of the headless Service over a worker's pods. The CRD keeps worker names short enough for it."""
    return worker + SERVICE_SUFFIX


def account_name(worker: str) -> str:
    """Name of the service account of a worker's pods."""
    return worker + ACCOUNT_SUFFIX


def code_name(worker: str, code: str) -> str:
    """Name of the copy of a worker's handlers with this hash."""
    return f"{worker}-code-{code}"


def canary_name(worker: str) -> str:
    """Name of the Deployment that tries a new version."""
    return worker + CANARY_SUFFIX


def revision_name(worker: str, revision: str) -> str:
    """Name of the ControllerRevision that keeps the pod template of a version."""
    return f"{worker}-{revision}"


def scale_name(worker: str) -> str:
    """Name of the ConfigMap from which a worker's pods read how many of them there are."""
    return f"{worker}-scale"


def copy_name(worker: str, section: str) -> str:
    """Name of the Secret with what a connection's section (engine, kafka or prometheus) lends a worker's pods."""
    return f"{worker}-{section}-copy"


def worker_names(kind: str, child: str) -> list[str]:
    """Names of the workers to which a child of that name could belong: a Deployment may be a canary."""
    name = child.removesuffix({"Service": SERVICE_SUFFIX, "ServiceAccount": ACCOUNT_SUFFIX}.get(kind, ""))
    canary = kind == "Deployment" and child.endswith(CANARY_SUFFIX)
    return [name, child.removesuffix(CANARY_SUFFIX)] if canary else [name]


def selector(worker: str) -> dict[str, str]:
    """The labels that select a worker's pods. A Deployment's selector can never change, so neither can these."""
    return {WORKER_LABEL: worker}


def fleet(worker: str) -> dict[str, str]:
    """The labels that select a worker's pods and those of its canary."""
    return {INSTANCE_LABEL: worker, MANAGED_BY_LABEL: MANAGER}


def labels(worker: str) -> dict[str, str]:
    """The labels of everything the operator makes for a worker."""
    return {
        "app.kubernetes.io/name": "rochallor-worker",
        **fleet(worker),
        **selector(worker),
    }


def metadata(worker: Worker, name: str) -> Manifest:
    """Name, labels and the controller owner reference by which Kubernetes deletes the object with its worker."""
    return {
        "name": name,
        "namespace": worker.namespace,
        "labels": labels(worker.name),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": worker.name,
                "uid": worker.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
