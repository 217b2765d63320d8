"""The autoscaler and the PodMonitor of a reconcile, and who sets the replicas."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import pytest

from rochallor_operator.errors import KubernetesError
from rochallor_operator.runtime.queue import Result
from unit.operator.fake_kube import CHILDREN, EVERYTHING, FOREIGN, KEY, FakeKube, reconciler
from unit.operator.test_desired import HPA, HPA_WAIT, KEDA, MONITORED

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest


@pytest.mark.parametrize(("spec", "kind"), [(HPA, "HorizontalPodAutoscaler"), (KEDA, "ScaledObject")])
async def test_no_autoscaler_ever_scales_a_deployment_that_is_not_ours(spec: Manifest, kind: str) -> None:
    kube = FakeKube(**spec)
    kube.live["Deployment"] = FOREIGN
    assert await reconciler(kube).reconcile(KEY) is Result.REFUSED
    assert kind not in kube.live
    sentence = "Deployment 'payments' exists and is not part of this resource: delete it or rename the resource"
    assert kube.condition("Degraded") == ("True", "NameConflict", sentence)
    left_out = f"left out, because there is no Deployment to scale: {sentence}"
    assert kube.condition("AutoscalerReady") == ("False", "NameConflict", left_out)
    assert "autoscaler" not in kube.status


async def test_an_autoscaler_goes_when_its_deployment_becomes_someone_elses() -> None:
    kube = FakeKube(**HPA)
    work = reconciler(kube)
    await work.reconcile(KEY)
    assert "HorizontalPodAutoscaler" in kube.live
    kube.live["Deployment"] = FOREIGN
    await work.reconcile(KEY)
    assert "HorizontalPodAutoscaler" not in kube.live
    assert "autoscaler" not in kube.status


async def test_no_series_counts_as_idle_only_while_the_deployment_is_at_zero() -> None:
    kube = FakeKube(**KEDA)
    work = reconciler(kube)
    seen = []
    for replicas in (None, 0, 3):
        if replicas is not None:
            kube.live["Deployment"]["spec"]["replicas"] = replicas
        await work.reconcile(KEY)
        query = kube.live["ScaledObject"]["spec"]["triggers"][0]["metadata"]["query"]
        seen.append(query.endswith(" or vector(0)"))
    assert seen == [False, True, False]


async def test_without_a_deployment_there_is_no_autoscaler_yet() -> None:
    """It would scale a Deployment that someone else may make meanwhile."""
    kube = FakeKube(**HPA, envFrom=[{"configMapRef": {"name": "code"}}])
    await reconciler(kube).reconcile(KEY)
    assert kube.applied == ["ServiceAccount", "Service"]
    assert kube.condition("AutoscalerReady")[1] == "ConfigMapNotFound"


async def test_an_autoscaler_that_is_refused_shows_the_bounds_of_the_one_in_force() -> None:
    kube = FakeKube(**HPA)
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.refused = {"HorizontalPodAutoscaler": KubernetesError(422, "no")}
    kube.change(autoscaling=HPA["autoscaling"] | {"maxReplicas": 50})
    await work.reconcile(KEY)
    assert kube.condition("AutoscalerReady") == ("False", "InvalidSpec", "no")
    assert (kube.status["autoscaler"]["minReplicas"], kube.status["autoscaler"]["maxReplicas"]) == (2, 10)


async def test_an_autoscaler_that_may_not_even_be_read_shows_no_bounds() -> None:
    kube = FakeKube(**HPA)
    kube.hidden = {"HorizontalPodAutoscaler": KubernetesError(403, "cannot get it")}
    assert await reconciler(kube).reconcile(KEY) is Result.REFUSED
    assert kube.condition("AutoscalerReady") == ("False", "Forbidden", "cannot get it")
    assert "autoscaler" not in kube.status


async def test_the_bounds_of_an_autoscaler_that_is_not_ours_are_not_shown() -> None:
    kube = FakeKube(**HPA)
    metadata = {"namespace": "shop", "name": "payments", "uid": "other"}
    kube.live["HorizontalPodAutoscaler"] = {"metadata": metadata, "spec": {"minReplicas": 7, "maxReplicas": 9}}
    assert await reconciler(kube).reconcile(KEY) is Result.REFUSED
    assert kube.condition("AutoscalerReady")[:2] == ("False", "NameConflict")
    assert "autoscaler" not in kube.status


async def test_an_autoscaler_that_may_not_be_removed_is_a_condition() -> None:
    kube = FakeKube(**HPA)
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.live["Deployment"] = FOREIGN
    kube.refused = {"HorizontalPodAutoscaler": KubernetesError(403, "cannot delete")}
    assert await work.reconcile(KEY) is Result.REFUSED
    assert kube.condition("AutoscalerReady")[:2] == ("False", "NameConflict")


OURS = [{"manager": "rochallor-operator", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
THEIRS = [{"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]


@pytest.mark.parametrize(
    ("replicas", "managed", "spec", "handed_over"),
    [
        (5, OURS, HPA, [5]),
        (1, OURS, HPA, [2]),
        (5, THEIRS, HPA, []),
        (0, THEIRS, HPA, [2]),  # no HorizontalPodAutoscaler starts pods from zero
        (0, THEIRS, KEDA, []),
        (None, OURS, KEDA, [1]),
        (5, OURS, {"replicas": 3}, []),
        (5, OURS, HPA | {"suspend": True}, []),
    ],
)
async def test_replicas_are_left_to_an_autoscaler_before_an_apply_without_them(
    replicas: int | None, managed: list[Manifest], spec: Manifest, handed_over: list[int]
) -> None:
    """An apply without replicas sets them to 1 where nobody else owns them: all pods but one would be removed."""
    kube = FakeKube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    live = kube.live["Deployment"]
    without = {field: value for field, value in live["spec"].items() if field != "replicas"}
    kube.live["Deployment"] = live | {
        "metadata": live["metadata"] | {"managedFields": managed},
        "spec": without if replicas is None else without | {"replicas": replicas},
    }
    kube.change(**spec)
    await work.reconcile(KEY)
    assert kube.handed_over == handed_over


def says(reason: str, status: str = "True") -> Manifest:
    """The status of a HorizontalPodAutoscaler."""
    return {"conditions": [{"type": "ScalingActive", "status": status, "reason": reason, "message": "words"}]}


@pytest.mark.parametrize(
    ("replicas", "status", "handed_over"),
    [
        (0, says("ValidMetricFound"), []),  # its own zero
        (0, says("FailedGetExternalMetric", "False"), []),  # unknown is not work
        (0, says("ScalingDisabled", "False"), [1]),  # someone else's zero, which it leaves alone for ever
        (0, {}, [1]),  # as after suspend, which removes it
        (3, says("ValidMetricFound"), []),
    ],
)
async def test_a_zero_that_is_not_the_autoscalers_own_becomes_one(
    replicas: int, status: Manifest, handed_over: list[int]
) -> None:
    """A HorizontalPodAutoscaler with minReplicas 0 starts pods only if it was itself that stopped the last."""
    kube = FakeKube(**HPA_WAIT)
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.live["Deployment"]["spec"]["replicas"] = replicas
    kube.live["HorizontalPodAutoscaler"] |= {"status": status}
    await work.reconcile(KEY)
    assert kube.handed_over == handed_over


async def test_a_cluster_without_zero_says_what_to_write() -> None:
    refusal = KubernetesError(422, 'HPA "payments" is invalid: spec.minReplicas: Invalid value: 0: must be …')
    kube = FakeKube({"HorizontalPodAutoscaler": refusal}, **HPA_WAIT)
    assert await reconciler(kube).reconcile(KEY) is Result.REFUSED, "the cluster may be upgraded"
    status, reason, message = kube.condition("AutoscalerReady")
    assert (status, reason) == ("False", "NotSupported")
    assert message.startswith("this cluster's HorizontalPodAutoscalers have no minReplicas 0: write 1 or more, or")
    assert kube.condition("Degraded")[0] == "False"


class WithoutTolerance(FakeKube):
    """As API servers that don't know the field, or have it switched off."""

    async def apply(self, manifest: Manifest) -> Manifest:
        live = await super().apply(deepcopy(manifest))
        for rules in live.get("spec", {}).get("behavior", {}).values():
            rules.pop("tolerance", None)
        return live


async def test_a_tolerance_that_the_api_server_drops_is_said() -> None:
    kube = FakeKube(**HPA_WAIT)
    await reconciler(kube).reconcile(KEY)
    assert kube.condition("AutoscalerReady")[1] == "Starting"
    kube = WithoutTolerance(**HPA_WAIT)
    await reconciler(kube).reconcile(KEY)
    status, reason, message = kube.condition("AutoscalerReady")
    assert (status, reason) == ("False", "NotSupported")
    assert "remove it from behavior.scaleUp, or use Kubernetes 1.35 or newer" in message


@pytest.mark.parametrize("spec", [HPA, KEDA], ids=["hpa", "keda"])
async def test_under_an_autoscaler_a_steady_state_writes_nothing(spec: Manifest) -> None:
    kube = FakeKube(**spec)
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.applied.clear()
    await work.reconcile(KEY)
    assert kube.applied == []


async def test_the_replicas_of_a_deployment_that_is_not_ours_are_not_touched() -> None:
    kube = FakeKube(**HPA)
    kube.live["Deployment"] = FOREIGN | {"metadata": FOREIGN["metadata"] | {"managedFields": OURS}}
    await reconciler(kube).reconcile(KEY)
    assert kube.handed_over == []


@pytest.mark.parametrize(
    ("kind", "condition"), [("HorizontalPodAutoscaler", "AutoscalerReady"), ("PodMonitor", "PodMonitorReady")]
)
@pytest.mark.parametrize(
    ("status", "reason"), [(403, "Forbidden"), (422, "InvalidSpec"), (500, "ApiError"), (503, "ApiError")]
)
async def test_a_child_that_pods_work_without_has_a_condition_of_its_own(
    kind: str, condition: str, status: int, reason: str
) -> None:
    kube = FakeKube({kind: KubernetesError(status, "no")}, **EVERYTHING)
    assert await reconciler(kube).reconcile(KEY) is Result.REFUSED
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
async def test_a_kind_that_the_cluster_does_not_serve(spec: Manifest, kind: str, condition: str, reason: str) -> None:
    missing = KubernetesError(404, "the server could not find the requested resource")
    kube = FakeKube({kind: missing, "TriggerAuthentication": missing}, **spec)
    assert await reconciler(kube).reconcile(KEY) is Result.REFUSED, "tried again: it may be installed later"
    assert kube.condition(condition)[:2] == ("False", reason)
    assert kube.condition("Degraded")[0] == "False"
    assert kube.applied == ["ServiceAccount", "Service", "Deployment"]


async def test_the_status_is_enough_to_remove_an_autoscaler() -> None:
    kube = FakeKube(**HPA)
    await reconciler(kube).reconcile(KEY)
    kube.change(suspend=True, **HPA)
    await reconciler(kube).reconcile(KEY)
    assert "HorizontalPodAutoscaler" not in kube.live
    assert kube.live["Deployment"]["spec"]["replicas"] == 0
    assert "autoscaler" not in kube.status


async def test_an_autoscalers_counts_do_not_matter() -> None:
    kube = FakeKube(**HPA)
    work = reconciler(kube)
    await work.reconcile(KEY)
    kind = "HorizontalPodAutoscaler"
    live = kube.live[kind]
    working = {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "…"}

    def matters(**status: object) -> bool:
        return work.on_child_event(kind, live | {"status": status}, deleted=False)

    assert matters(conditions=[working], currentReplicas=2)
    assert not matters(conditions=[working], currentReplicas=3)
    assert matters(conditions=[working | {"status": "False"}], currentReplicas=3)
    assert work.on_child_event(kind, live | {"spec": live["spec"] | {"maxReplicas": 99}}, deleted=False)
    assert work.on_child_event(kind, live, deleted=True)
    assert work.on_child_event(kind, live | {"spec": live["spec"] | {"maxReplicas": 99}}, deleted=False)


@pytest.mark.parametrize(
    ("annotations", "stays"),
    [
        ({"autoscaling.keda.sh/paused": "true"}, True),
        ({"autoscaling.keda.sh/paused": "false"}, False),
        ({"autoscaling.keda.sh/paused": "true", "autoscaling.keda.sh/paused-replicas": "3"}, False),
        ({}, False),
    ],
)
async def test_suspend_keeps_a_pause_that_someone_has_set(annotations: dict[str, str], stays: bool) -> None:
    kube = FakeKube(**KEDA)
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.live["ScaledObject"]["metadata"]["annotations"] = annotations
    kube.change(**KEDA, suspend=True)
    await work.reconcile(KEY)
    assert kube.live["Deployment"]["spec"]["replicas"] == 0
    assert ("ScaledObject" in kube.live) == stays
    kube.change(suspend=True)
    await work.reconcile(KEY)
    assert "ScaledObject" not in kube.live, "the spec has no autoscaler"
