"""A Kubernetes that holds one resource and its children, for a Reconciler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rochallor_operator.names import Key, Release
from rochallor_operator.reconcile import Reconciler
from unit.operator.samples import resource
from unit.operator.test_desired import HPA, MONITORED

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.errors import KubernetesError
    from rochallor_operator.names import Manifest

KEY = Key("shop", "payments")
RELEASE = Release("system/operator", "worker:1", b"key")
EVERYTHING: Manifest = HPA | MONITORED | {"disruptionBudget": {"maxUnavailable": 1}}
CHILDREN = [
    "ServiceAccount",
    "Service",
    "PodDisruptionBudget",
    "Deployment",
    "HorizontalPodAutoscaler",
    "PodMonitor",
]
"""The children of everything, in the order in which they are applied."""


class FakeKube:
    """Holds one resource, accepts every apply except of the kinds it refuses, and records the requests."""

    def __init__(self, refused: dict[str, KubernetesError] | None = None, **spec: Any) -> None:
        self.refused = refused or {}
        self.hidden: dict[str, KubernetesError] = {}
        """Kinds that may not be read."""
        self.handed_over: list[int] = []
        self.listed: list[Manifest] = []
        self.live: dict[str, Manifest] = {"RochallorWorker": resource(**spec)}
        self.applied: list[str] = []
        self.read: list[str] = []
        self.status: Manifest = {}
        self.events: list[str] = []

    async def get(self, kind: str, _namespace: str, _name: str) -> Manifest | None:
        self.read.append(kind)
        if kind in self.hidden:
            raise self.hidden[kind]
        return self.live.get(kind)

    async def apply(self, manifest: Manifest) -> Manifest:
        kind = manifest["kind"]
        if kind in self.refused:
            raise self.refused[kind]
        self.applied.append(kind)
        metadata = manifest["metadata"] | {"uid": f"uid-of-{kind}", "generation": 1}
        self.live[kind] = manifest | {"metadata": metadata}
        return self.live[kind]

    async def would_accept(self, manifest: Manifest) -> bool:
        return manifest["kind"] not in self.refused

    async def hand_over_replicas(self, deployment: Manifest, replicas: int) -> Manifest:
        assert deployment is self.live["Deployment"]
        self.handed_over.append(replicas)
        self.live["Deployment"] = deployment | {"spec": deployment["spec"] | {"replicas": replicas}}
        return self.live["Deployment"]

    async def delete(self, kind: str, _namespace: str, _name: str, uid: str) -> None:
        if kind in self.refused:
            raise self.refused[kind]
        assert self.live.pop(kind)["metadata"]["uid"] == uid

    async def apply_status(self, manifest: Manifest) -> None:
        self.status = manifest["status"]
        self.live["RochallorWorker"] = self.live["RochallorWorker"] | {"status": self.status}

    async def create(self, manifest: Manifest) -> Manifest:
        if manifest["kind"] in self.refused:
            raise self.refused[manifest["kind"]]
        self.events.append(f"{manifest['type']} {manifest['reason']}")
        return manifest

    async def serves(self, _kind: str) -> bool:
        return True

    async def pods(self, _namespace: str, _selector: dict[str, str]) -> list[Manifest]:
        self.read.append("Pod")
        return self.listed

    def condition(self, kind: str) -> tuple[str, str, str]:
        (found,) = [item for item in self.status["conditions"] if item["type"] == kind]
        return found["status"], found["reason"], found["message"]

    def change(self, **spec: Any) -> None:
        """Edit the resource, which has the last status."""
        self.live["RochallorWorker"] = resource(**spec) | {"status": self.status}


def reconciler(kube: FakeKube) -> Reconciler:
    return Reconciler(cast("Kube", kube), RELEASE)


COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")


def roll_out(kube: FakeKube, **status: Any) -> None:
    """Let the Deployment's controller finish, apart from what status says."""
    wanted = kube.live["Deployment"]["spec"].get("replicas", 1)
    ended = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
    done = {"observedGeneration": 1, "conditions": [ended]} | dict.fromkeys(COUNTS, wanted)
    kube.live["Deployment"] |= {"status": done | status}


FOREIGN: Manifest = {
    "kind": "Deployment",
    "metadata": {"namespace": "shop", "name": "payments", "uid": "other", "generation": 1},
    "spec": {"replicas": 1, "template": {"metadata": {}, "spec": {"serviceAccountName": "other"}}},
}
