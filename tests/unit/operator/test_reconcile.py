"""How a reconcile goes on when the API server refuses a part. (What it does to a cluster: tests/integration.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import Key
from rochallor_operator.queue import Outcome
from rochallor_operator.reconcile import Reconciler
from unit.operator.samples import resource
from unit.operator.test_desired import HPA, KEDA, MONITORED

if TYPE_CHECKING:
    from rochallor_operator.kube import Kube
    from rochallor_operator.names import Manifest

KEY = Key("shop", "payments")
EVERYTHING: Manifest = HPA | MONITORED | {"disruptionBudget": {"maxUnavailable": 1}}
CHILDREN = [
    "ServiceAccount",
    "Service",
    "PodDisruptionBudget",
    "Deployment",
    "HorizontalPodAutoscaler",
    "PodMonitor",
]
"""What everything makes, in the order in which it is made."""


class FakeKube:
    """Holds one resource, accepts every apply except of the kinds it refuses, and remembers what it was asked."""

    def __init__(self, refused: dict[str, KubernetesError] | None = None, **spec: Any) -> None:
        self._refused = refused or {}
        self.live: dict[str, Manifest] = {"RochallorWorker": resource(**spec)}
        self.applied: list[str] = []
        self.read: list[str] = []
        self.status: Manifest = {}
        self.events: list[str] = []

    async def get(self, kind: str, _namespace: str, _name: str) -> Manifest | None:
        self.read.append(kind)
        if kind in self._refused and kind in {"ConfigMap", "Secret"}:
            raise self._refused[kind]
        return self.live.get(kind)

    async def apply(self, manifest: Manifest) -> Manifest:
        kind = manifest["kind"]
        if kind in self._refused:
            raise self._refused[kind]
        self.applied.append(kind)
        metadata = manifest["metadata"] | {"uid": f"uid-of-{kind}", "generation": 1}
        self.live[kind] = manifest | {"metadata": metadata}
        return self.live[kind]

    async def delete(self, kind: str, _namespace: str, _name: str, uid: str) -> None:
        assert self.live.pop(kind)["metadata"]["uid"] == uid

    async def apply_status(self, manifest: Manifest) -> None:
        self.status = manifest["status"]
        self.live["RochallorWorker"] = self.live["RochallorWorker"] | {"status": self.status}

    async def create(self, manifest: Manifest) -> Manifest:
        if manifest["kind"] in self._refused:
            raise self._refused[manifest["kind"]]
        self.events.append(f"{manifest['type']} {manifest['reason']}")
        return manifest

    async def pods(self, _namespace: str, _selector: dict[str, str]) -> list[Manifest]:
        self.read.append("Pod")
        return []

    def condition(self, kind: str) -> tuple[str, str, str]:
        (found,) = [item for item in self.status["conditions"] if item["type"] == kind]
        return found["status"], found["reason"], found["message"]

    def change(self, **spec: Any) -> None:
        """Edit the resource, which has the last status."""
        self.live["RochallorWorker"] = resource(**spec) | {"status": self.status}


def reconciler(kube: FakeKube) -> Reconciler:
    return Reconciler(cast("Kube", kube), "worker:1")


async def test_the_children_are_applied_once() -> None:
    kube = FakeKube()
    work = reconciler(kube)
    assert await work.reconcile(KEY) is Outcome.UNSETTLED
    assert await work.reconcile(KEY) is Outcome.UNSETTLED
    assert kube.applied == ["ServiceAccount", "Service", "Deployment"]


@pytest.mark.parametrize("refused", ["ServiceAccount", "Service", "PodDisruptionBudget", "Deployment"])
async def test_a_refused_child_is_a_condition_and_the_other_ones_are_still_made(refused: str) -> None:
    kube = FakeKube({refused: KubernetesError(403, "cannot patch")}, **EVERYTHING)
    assert await reconciler(kube).reconcile(KEY) is Outcome.REFUSED
    assert kube.applied == [kind for kind in CHILDREN if kind != refused]
    assert kube.condition("Degraded") == ("True", "Forbidden", "cannot patch")


@pytest.mark.parametrize(
    ("kind", "condition"), [("HorizontalPodAutoscaler", "AutoscalerReady"), ("PodMonitor", "PodMonitorReady")]
)
@pytest.mark.parametrize(
    ("status", "reason"), [(403, "Forbidden"), (422, "InvalidSpec"), (500, "ApiError"), (503, "ApiError")]
)
async def test_what_pods_can_live_without_is_a_condition_of_its_own(
    kind: str, condition: str, status: int, reason: str
) -> None:
    kube = FakeKube({kind: KubernetesError(status, "no")}, **EVERYTHING)
    assert await reconciler(kube).reconcile(KEY) is Outcome.REFUSED
    assert kube.applied == [child for child in CHILDREN if child != kind]
    assert kube.condition(condition) == ("False", reason, "no")
    assert kube.condition("Degraded")[0] == "False"
    assert ("autoscaler" in kube.status) is (kind == "PodMonitor")


@pytest.mark.parametrize(
    ("spec", "kind", "condition", "reason"),
    [
        (KEDA, "ScaledObject", "AutoscalerReady", "KedaNotInstalled"),
        (MONITORED, "PodMonitor", "PodMonitorReady", "PodMonitorNotInstalled"),
    ],
)
async def test_a_kind_that_the_cluster_does_not_know(spec: Manifest, kind: str, condition: str, reason: str) -> None:
    missing = KubernetesError(404, "the server could not find the requested resource")
    kube = FakeKube({kind: missing, "TriggerAuthentication": missing}, **spec)
    assert await reconciler(kube).reconcile(KEY) is Outcome.REFUSED, "tried again: it may be installed later"
    assert kube.condition(condition)[:2] == ("False", reason)
    assert kube.condition("Degraded")[0] == "False"
    assert kube.applied == ["ServiceAccount", "Service", "Deployment"]


async def test_a_first_reconcile_asks_little() -> None:
    kube = FakeKube()
    await reconciler(kube).reconcile(KEY)
    assert kube.read == ["RochallorWorker", "Deployment", "ServiceAccount", "Service"]
    calls = len(kube.read) + len(kube.applied) + 1  # and the status
    assert calls == 8
    kube = FakeKube(**HPA, disruptionBudget={"maxUnavailable": 1})
    await reconciler(kube).reconcile(KEY)
    assert len(kube.read) + len(kube.applied) + 1 == 12


async def test_what_is_no_longer_asked_for_is_removed_and_not_looked_for_again() -> None:
    kube = FakeKube(**EVERYTHING)
    work = reconciler(kube)
    await work.reconcile(KEY)
    assert set(kube.live) == {"RochallorWorker", *CHILDREN}
    kube.change()
    await work.reconcile(KEY)
    assert set(kube.live) == {"RochallorWorker", "ServiceAccount", "Service", "Deployment"}
    kube.read.clear()
    await work.reconcile(KEY)
    assert kube.read == ["RochallorWorker", "Deployment", "ServiceAccount", "Service"]


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "PodDisruptionBudget", "PodMonitor"])
async def test_after_a_new_start_an_event_is_enough_to_remove_a_child(kind: str) -> None:
    kube = FakeKube(**EVERYTHING)
    await reconciler(kube).reconcile(KEY)
    kube.change()
    work = reconciler(kube)
    assert work.hear(kind, kube.live[kind], gone=False)
    await work.reconcile(KEY)
    assert kind not in kube.live


async def test_the_status_is_enough_to_remove_an_autoscaler() -> None:
    kube = FakeKube(**HPA)
    await reconciler(kube).reconcile(KEY)
    kube.change(suspend=True, **HPA)
    await reconciler(kube).reconcile(KEY)
    assert "HorizontalPodAutoscaler" not in kube.live
    assert kube.live["Deployment"]["spec"]["replicas"] == 0
    assert "autoscaler" not in kube.status


async def test_a_foreign_object_of_an_unwanted_childs_name_stays() -> None:
    kube = FakeKube()
    foreign: Manifest = {"metadata": {"namespace": "shop", "name": "payments", "uid": "other"}}
    kube.live["PodDisruptionBudget"] = foreign
    work = reconciler(kube)
    work.hear("PodDisruptionBudget", foreign, gone=False)
    await work.reconcile(KEY)
    assert kube.live["PodDisruptionBudget"] is foreign


async def test_an_autoscalers_counting_is_no_news() -> None:
    kube = FakeKube(**HPA)
    work = reconciler(kube)
    await work.reconcile(KEY)
    kind = "HorizontalPodAutoscaler"
    live = kube.live[kind]
    working = {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "…"}

    def hear(**status: object) -> bool:
        return work.hear(kind, live | {"status": status}, gone=False)

    assert hear(conditions=[working], currentReplicas=2)
    assert not hear(conditions=[working], currentReplicas=3)
    assert hear(conditions=[working | {"status": "False"}], currentReplicas=3)
    assert work.hear(kind, live | {"spec": live["spec"] | {"maxReplicas": 99}}, gone=False)
    assert work.hear(kind, live, gone=True)
    assert work.hear(kind, live | {"spec": live["spec"] | {"maxReplicas": 99}}, gone=False)


@pytest.mark.parametrize(("kind", "field"), [("ConfigMap", "configMapRef"), ("Secret", "secretRef")])
async def test_a_source_that_may_not_be_read_is_a_condition(kind: str, field: str) -> None:
    kube = FakeKube({kind: KubernetesError(403, "cannot get it")}, envFrom=[{field: {"name": "code"}}])
    work = reconciler(kube)
    assert await work.reconcile(KEY) is Outcome.REFUSED
    assert kube.applied == ["ServiceAccount", "Service"]
    assert kube.condition("Degraded") == ("True", "Forbidden", "cannot get it")
    assert work.users_of(kind, "shop", "code") == [KEY]


@pytest.mark.parametrize("status", [None, 409, 500, 503])
async def test_passing_trouble_is_tried_again_and_says_nothing_on_the_resource(status: int | None) -> None:
    kube = FakeKube({"Deployment": KubernetesError(status, "try again")})
    assert await reconciler(kube).reconcile(KEY) is Outcome.FAILED
    assert kube.status == {}


@pytest.mark.parametrize("wrong", [{"drainTimeout": "soon"}, {"template": {"spec": {"containers": None}}}])
async def test_an_invalid_spec_changes_no_child(wrong: Manifest) -> None:
    kube = FakeKube(**wrong)
    assert await reconciler(kube).reconcile(KEY) is Outcome.SETTLED
    assert kube.applied == []
    assert kube.condition("Degraded")[:2] == ("True", "InvalidSpec")


@pytest.mark.parametrize("ending", ["gone", "being deleted"])
async def test_a_resource_that_is_gone_is_forgotten(ending: str) -> None:
    kube = FakeKube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    if ending == "gone":
        del kube.live["RochallorWorker"]
    else:
        kube.live["RochallorWorker"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    kube.live.pop("Deployment")
    kube.applied.clear()
    assert await work.reconcile(KEY) is Outcome.SETTLED
    assert kube.applied == []


async def test_an_event_tells_a_transition_and_a_refused_one_changes_nothing() -> None:
    kube = FakeKube({"Deployment": KubernetesError(403, "cannot patch")})
    await reconciler(kube).reconcile(KEY)
    assert kube.events == ["Warning Forbidden"]
    kube = FakeKube({"Event": KubernetesError(403, "cannot create events")})
    assert await reconciler(kube).reconcile(KEY) is Outcome.UNSETTLED
    assert kube.condition("Degraded")[1] == "Healthy"


async def test_a_resource_in_a_namespace_that_is_no_longer_served_is_left_alone() -> None:
    kube = FakeKube({})
    work = reconciler(kube)
    work.served = frozenset({"other"})
    assert await work.reconcile(KEY) is Outcome.SETTLED
    assert (kube.applied, kube.status) == ([], {})
