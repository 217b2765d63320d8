"""How a reconcile continues when the API server refuses a part. (Its effect on a cluster: tests/integration.)"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import ObjectRef
from rochallor_operator.runtime.queue import Result
from unit.operator.fake_kube import CHILDREN, EVERYTHING, KEY, FakeKube, reconciler, roll_out
from unit.operator.samples import pod, resource
from unit.operator.test_desired import HPA, LIMITED

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest


async def test_the_children_are_applied_once() -> None:
    kube = FakeKube()
    work = reconciler(kube)
    assert await work.reconcile(KEY) is Result.UNSETTLED
    assert await work.reconcile(KEY) is Result.UNSETTLED
    assert kube.applied == ["ServiceAccount", "Service", "Deployment"]


WARNED: Manifest = {
    "conditions": [
        {
            "type": "Degraded",
            "status": "True",
            "reason": "LeaseNotRenewable",
            "message": "pod a: too long",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"handlerTimeout": "45s"}, "LeaseNotRenewable"),
        ({"handlerTimeout": "20s"}, "Healthy"),
        ({"handlerTimeout": "45s", "suspend": True}, "Healthy"),
    ],
)
async def test_pods_warn_of_leases_only_where_handlers_may_outlive_one(spec: Manifest, reason: str) -> None:
    kube = FakeKube(**spec)
    kube.live["RochallorWorker"] |= {"status": WARNED}
    await reconciler(kube).reconcile(KEY)
    assert kube.condition("Degraded")[1] == reason


DATABASE: Manifest = {"engine": {"url": "http://engine:8080", "databaseSecret": {"name": "db", "key": "dsn"}}}


async def test_a_secret_that_may_not_be_read_leaves_the_backlog_unknown_and_the_pods_alone() -> None:
    kube = FakeKube(**DATABASE)
    kube.hidden["Secret"] = KubernetesError(403, "cannot get secrets")
    assert await reconciler(kube).reconcile(KEY) is Result.UNSETTLED
    assert kube.condition("BacklogServed") == ("Unknown", "Forbidden", "cannot get secrets")
    assert kube.condition("Degraded")[1] == "Healthy"


async def test_another_database_is_noticed_and_none_has_no_condition() -> None:
    kube = FakeKube(**DATABASE)
    work = reconciler(kube)
    await work.reconcile(KEY)
    assert kube.condition("BacklogServed")[1] == "SecretNotFound"
    assert work.users_of(ObjectRef("Secret", KEY.namespace, "db")) == [KEY]
    kube.live["Secret"] = {"data": {"dsn": "aG9zdD1kYg=="}}
    await work.reconcile(KEY)
    assert kube.condition("BacklogServed")[1] == "SecretNotFound", "until it is read"
    kube.change()
    await work.reconcile(KEY)
    assert not [one for one in kube.status["conditions"] if one["type"] == "BacklogServed"]
    assert work.users_of(ObjectRef("Secret", KEY.namespace, "db")) == []


@pytest.mark.parametrize("refused", ["ServiceAccount", "Service", "PodDisruptionBudget", "Deployment"])
async def test_a_refused_child_is_a_condition_and_the_other_ones_are_still_made(refused: str) -> None:
    kube = FakeKube({refused: KubernetesError(403, "cannot patch")}, **EVERYTHING)
    assert await reconciler(kube).reconcile(KEY) is Result.REFUSED
    unwanted = {refused, "HorizontalPodAutoscaler"} if refused == "Deployment" else {refused}
    assert kube.applied == [kind for kind in CHILDREN if kind not in unwanted]
    assert kube.condition("Degraded") == ("True", "Forbidden", "cannot patch")
    assert kube.condition("Ready")[1] == ("Forbidden" if refused == "Deployment" else "RollingOut")


@pytest.mark.parametrize("refused", ["ServiceAccount", "Service", "PodDisruptionBudget"])
@pytest.mark.parametrize("message", ["exceeded quota: small", "cannot patch"])
async def test_a_refused_child_does_not_make_available_pods_unready(refused: str, message: str) -> None:
    kube = FakeKube({refused: KubernetesError(403, message)}, replicas=3, disruptionBudget={"maxUnavailable": 1})
    work = reconciler(kube)
    await work.reconcile(KEY)
    roll_out(kube)
    assert await work.reconcile(KEY) is Result.REFUSED
    assert kube.condition("Ready") == ("True", "Available", "3 of 3 pods available")
    assert kube.condition("Progressing")[:2] == ("False", "Available")
    assert kube.condition("Degraded")[::2] == ("True", message)


ACCOUNT: Manifest = {
    "metadata": {
        "namespace": "shop",
        "name": "payments-worker",
        "uid": "other",
        "labels": {"rochallor.io/for-workers": "true"},
    }
}


async def test_no_pod_is_made_for_an_account_that_is_not_ours() -> None:
    kube = FakeKube()
    kube.live["ServiceAccount"] = ACCOUNT
    work = reconciler(kube)
    assert await work.reconcile(KEY) is Result.REFUSED
    assert kube.applied == ["Service"]
    assert kube.condition("Ready")[:2] == ("False", "NameConflict")
    kube.change(template={"spec": {"serviceAccountName": "mine"}})
    await work.reconcile(KEY)
    assert kube.applied == ["Service", "Deployment"], "the pods' account may be another one"
    kube.change()
    await work.reconcile(KEY)
    assert kube.live["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
    assert kube.condition("Ready")[:2] == ("False", "NameConflict")
    del kube.live["ServiceAccount"]
    await work.reconcile(KEY)
    assert kube.live["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "payments-worker"


async def test_a_deployment_that_has_its_account_is_still_applied() -> None:
    kube = FakeKube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.live["ServiceAccount"] = ACCOUNT
    kube.change(suspend=True)
    await work.reconcile(KEY)
    assert kube.live["Deployment"]["spec"]["replicas"] == 0
    assert kube.condition("Degraded")[:2] == ("True", "NameConflict")


async def test_a_removal_that_is_refused_stops_no_other_one() -> None:
    kube = FakeKube(**EVERYTHING)
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.refused = {"PodDisruptionBudget": KubernetesError(403, "cannot delete")}
    kube.change(replicas=7)
    assert await work.reconcile(KEY) is Result.REFUSED
    assert kube.condition("Degraded") == ("True", "Forbidden", "cannot delete")
    assert set(kube.live) == {"RochallorWorker", "ServiceAccount", "Service", "Deployment", "PodDisruptionBudget"}
    assert kube.live["Deployment"]["spec"]["replicas"] == 7


async def test_a_missing_source_stops_no_change_of_a_deployment_that_runs() -> None:
    """Its pods keep what they have: the hash stays, so that nothing is rolled."""
    kube = FakeKube(envFrom=[{"configMapRef": {"name": "code"}}])
    kube.live["ConfigMap"] = {"metadata": {"uid": "c"}, "data": {"a": "1"}}
    work = reconciler(kube)
    await work.reconcile(KEY)
    annotations = kube.live["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert "rochallor.io/config-hash" in annotations
    del kube.live["ConfigMap"]
    kube.change(envFrom=[{"configMapRef": {"name": "code"}}], replicas=7)
    assert await work.reconcile(KEY) is Result.REFUSED
    assert kube.live["Deployment"]["spec"]["replicas"] == 7
    assert kube.live["Deployment"]["spec"]["template"]["metadata"]["annotations"] == annotations
    assert kube.condition("Degraded")[:2] == ("True", "ConfigMapNotFound")


async def test_pods_that_are_available_stay_ready_when_a_source_is_deleted() -> None:
    kube = FakeKube(envFrom=[{"configMapRef": {"name": "code"}}])
    kube.live["ConfigMap"] = {"metadata": {"uid": "c"}, "data": {"a": "1"}}
    work = reconciler(kube)
    await work.reconcile(KEY)
    roll_out(kube)
    del kube.live["ConfigMap"]
    await work.reconcile(KEY)
    assert kube.condition("Ready")[:2] == ("True", "Available")
    assert kube.condition("Degraded")[:2] == ("True", "ConfigMapNotFound")


@pytest.mark.parametrize("kind", ["ServiceAccount", "Service", "Deployment", "HorizontalPodAutoscaler"])
async def test_a_child_under_deletion_is_not_applied_and_recreated_once_it_is_deleted(kind: str) -> None:
    """An apply would be answered with the object that is about to be deleted, and count as done."""
    kube = FakeKube(**HPA)
    work = reconciler(kube)
    await work.reconcile(KEY)
    live = kube.live[kind]
    kube.live[kind] = live | {
        "metadata": live["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z", "labels": {"changed": "x"}},
        "spec": live.get("spec", {}) | {"minReadySeconds": 99},
    }
    kube.applied.clear()
    await work.reconcile(KEY)
    assert kind not in kube.applied
    del kube.live[kind]
    await work.reconcile(KEY)
    assert kind in kube.applied


def of(template: Manifest, name: str, hashed: str, created: str, image: str, **status: Any) -> Manifest:
    """A pod of the Deployment, of some template."""
    made = pod(name, created=created, template=hashed, **status)
    made["metadata"]["labels"] |= template["metadata"]["labels"]
    spec = dict(template["spec"])
    spec["containers"] = [spec["containers"][0] | {"image": image}]
    return made | {"spec": spec}


async def test_the_reason_stays_when_an_old_pod_is_evicted_during_a_broken_rollout() -> None:
    kube = FakeKube(replicas=2, image="worker:broken")
    work = reconciler(kube)
    await work.reconcile(KEY)
    roll_out(kube, replicas=3, updatedReplicas=1, availableReplicas=2, readyReplicas=2)
    template = kube.live["Deployment"]["spec"]["template"]
    pulling = {"name": "worker", "image": "worker:broken", "state": {"waiting": {"reason": "ErrImagePull"}}}
    broken = of(template, "b", "7e", "2026-01-02T00:00:00Z", "worker:broken", containerStatuses=[pulling])
    kube.listed = [of(template, "a", "7d", "2026-01-01T00:00:00Z", "worker:1"), broken]
    await work.reconcile(KEY)
    assert kube.condition("Ready")[1] == "ImagePullBackOff"
    kube.listed = [of(template, "c", "7d", "2026-01-03T00:00:00Z", "worker:1"), broken]
    await work.reconcile(KEY)
    assert kube.condition("Ready")[1] == "ImagePullBackOff"
    assert kube.events.count("Warning ImagePullBackOff") == 1


async def test_a_resource_is_not_ready_while_a_container_keeps_restarting() -> None:
    kube = FakeKube(replicas=1)
    work = reconciler(kube)
    await work.reconcile(KEY)
    template = kube.live["Deployment"]["spec"]["template"]
    proxy = {"name": "proxy", "ready": True, "started": True, "restartCount": 1, "state": {"running": {}}}

    def proxy_ended(ago: float) -> None:
        at = (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
        last = {"terminated": {"exitCode": 7, "reason": "Error", "finishedAt": at}}
        status = [proxy | {"lastState": last}]
        kube.listed = [of(template, "a", "7d", "2026-01-01T00:00:00Z", "worker:1", containerStatuses=status)]

    roll_out(kube)
    proxy_ended(20)
    assert await work.reconcile(KEY) is Result.UNSETTLED
    sentence = "pod a: container 'proxy': the container exited with Error (exit code 7)"
    assert kube.condition("Ready") == ("False", "CrashLoopBackOff", sentence)
    proxy_ended(100)
    assert await work.reconcile(KEY) is Result.SETTLED
    assert kube.condition("Ready")[:2] == ("True", "Available")
    kube.read.clear()
    await work.reconcile(KEY)
    assert "Pod" not in kube.read, "those of a ready resource aren't read"


async def test_a_pod_that_is_no_longer_ready_is_named_with_its_container() -> None:
    kube = FakeKube(replicas=1)
    work = reconciler(kube)
    await work.reconcile(KEY)
    roll_out(kube)
    await work.reconcile(KEY)
    roll_out(kube, availableReplicas=0, readyReplicas=0)
    proxy = {"name": "proxy", "ready": False, "started": True, "state": {"running": {}}}
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T01:00:00Z"}
    template = kube.live["Deployment"]["spec"]["template"]
    status = {"containerStatuses": [proxy], "conditions": [unready]}
    kube.listed = [of(template, "a", "7d", "2026-01-01T00:00:00Z", "worker:1", **status)]
    assert await work.reconcile(KEY) is Result.UNSETTLED
    sentence = "pod a: container 'proxy' runs, but its readiness probe fails"
    for kind, value in (("Ready", "False"), ("Progressing", "False"), ("Stalled", "True")):
        assert kube.condition(kind) == (value, "PodsNotReady", sentence)


async def test_a_first_reconcile_makes_few_requests() -> None:
    kube = FakeKube()
    await reconciler(kube).reconcile(KEY)
    assert kube.read == ["RochallorWorker", "Deployment", "ServiceAccount", "Service"]
    calls = len(kube.read) + len(kube.applied) + 1  # and the status
    assert calls == 8
    kube = FakeKube(**HPA, disruptionBudget={"maxUnavailable": 1})
    await reconciler(kube).reconcile(KEY)
    assert len(kube.read) + len(kube.applied) + 1 == 12


async def test_what_is_no_longer_asked_for_is_removed_and_not_looked_up_again() -> None:
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
async def test_after_a_restart_an_event_is_enough_to_remove_a_child(kind: str) -> None:
    kube = FakeKube(**EVERYTHING)
    await reconciler(kube).reconcile(KEY)
    kube.change()
    work = reconciler(kube)
    assert work.on_child_event(kind, kube.live[kind], deleted=False)
    await work.reconcile(KEY)
    assert kind not in kube.live


async def test_a_foreign_object_of_an_unwanted_childs_name_stays() -> None:
    kube = FakeKube()
    foreign: Manifest = {"metadata": {"namespace": "shop", "name": "payments", "uid": "other"}}
    kube.live["PodDisruptionBudget"] = foreign
    work = reconciler(kube)
    work.on_child_event("PodDisruptionBudget", foreign, deleted=False)
    await work.reconcile(KEY)
    assert kube.live["PodDisruptionBudget"] is foreign


@pytest.mark.parametrize(("kind", "field"), [("ConfigMap", "configMapRef"), ("Secret", "secretRef")])
async def test_a_source_that_may_not_be_read_is_a_condition(kind: str, field: str) -> None:
    kube = FakeKube(envFrom=[{field: {"name": "code"}}])
    kube.hidden = {kind: KubernetesError(403, "cannot get it")}
    work = reconciler(kube)
    assert await work.reconcile(KEY) is Result.REFUSED
    assert kube.applied == ["ServiceAccount", "Service"]
    assert kube.condition("Degraded") == ("True", "Forbidden", "cannot get it")
    assert work.users_of(ObjectRef(kind, "shop", "code")) == [KEY]
    del kube.live["RochallorWorker"]
    await work.reconcile(KEY)
    assert work.users_of(ObjectRef(kind, "shop", "code")) == []


@pytest.mark.parametrize("status", [None, 409, 500, 503])
async def test_a_transient_error_is_tried_again_and_is_not_in_the_status(status: int | None) -> None:
    kube = FakeKube({"Deployment": KubernetesError(status, "try again")})
    assert await reconciler(kube).reconcile(KEY) is Result.FAILED
    assert kube.status == {}


def scaled(kube: FakeKube) -> str | None:
    """What pods can read in the ConfigMap."""
    found: str | None = kube.live.get("ConfigMap", {"data": {"pods": None}})["data"]["pods"]
    return found


async def test_the_config_map_follows_the_ready_pods_and_nothing_else_does() -> None:
    kube = FakeKube(**LIMITED, replicas=3)
    work = reconciler(kube)
    await work.reconcile(KEY)
    assert kube.applied == ["ServiceAccount", "Service", "ConfigMap", "Deployment"]
    assert scaled(kube) == "1"
    for ready in (2, 3, 3):
        roll_out(kube, readyReplicas=ready)
        await work.reconcile(KEY)
        assert scaled(kube) == f"{ready}"
    assert kube.applied[4:] == ["ConfigMap", "ConfigMap"]
    assert kube.condition("Ready")[:2] == ("True", "Available")


async def test_a_config_map_that_is_refused_or_is_not_ours_is_a_condition() -> None:
    kube = FakeKube({"ConfigMap": KubernetesError(403, "cannot patch")}, **LIMITED)
    await reconciler(kube).reconcile(KEY)
    assert kube.condition("Degraded") == ("True", "Forbidden", "cannot patch")
    assert "Deployment" in kube.applied
    kube = FakeKube(**LIMITED)
    kube.live["ConfigMap"] = {"metadata": {"uid": "other"}, "data": {}}
    await reconciler(kube).reconcile(KEY)
    assert kube.condition("Degraded")[:2] == ("True", "NameConflict")


@pytest.mark.parametrize("restarted", [True, False])
async def test_the_config_map_is_removed_when_no_pod_reads_it_any_more(restarted: bool) -> None:
    kube = FakeKube(**LIMITED)
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.change()
    work = reconciler(kube) if restarted else work
    await work.reconcile(KEY)
    assert "ConfigMap" in kube.live, "older pods read it"
    roll_out(kube)
    await work.reconcile(KEY)
    assert "ConfigMap" not in kube.live
    kube.read.clear()
    await work.reconcile(KEY)
    assert "ConfigMap" not in kube.read
    kube.change(**LIMITED)
    await work.reconcile(KEY)
    assert scaled(kube) == "1"


async def test_a_foreign_object_of_the_config_maps_name_stays() -> None:
    kube = FakeKube()
    kube.live["ConfigMap"] = {"metadata": {"uid": "other"}, "data": {}}
    work = reconciler(kube)
    await work.reconcile(KEY)
    roll_out(kube)
    await work.reconcile(KEY)
    assert "ConfigMap" in kube.live


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, "BreakerOpen"),
        ({"limits": [{"jobType": "charge-card", "breaker": False}]}, "Healthy"),
        ({"suspend": True}, "Healthy"),
    ],
)
async def test_pods_warn_of_breakers_only_where_there_are_any(spec: Manifest, reason: str) -> None:
    kube = FakeKube(**spec)
    (condition,) = WARNED["conditions"]
    kube.live["RochallorWorker"] |= {"status": {"conditions": [condition | {"reason": "BreakerOpen"}]}}
    await reconciler(kube).reconcile(KEY)
    assert kube.condition("Degraded")[1] == reason


async def test_the_end_of_a_namespace_is_no_problem(caplog: pytest.LogCaptureFixture) -> None:
    sentence = "unable to create new content in namespace shop because it is being terminated"
    kube = FakeKube({"Deployment": KubernetesError(403, f'deployments.apps "payments" is forbidden: {sentence}')})
    assert await reconciler(kube).reconcile(KEY) is Result.SETTLED
    assert (kube.status, kube.events) == ({}, [])
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize("wrong", [{"drainTimeout": "soon"}, {"template": {"spec": {"containers": None}}}])
async def test_an_invalid_spec_changes_no_child(wrong: Manifest) -> None:
    kube = FakeKube(**wrong)
    assert await reconciler(kube).reconcile(KEY) is Result.SETTLED
    assert kube.applied == []
    assert kube.condition("Degraded")[:2] == ("True", "InvalidSpec")


@pytest.mark.parametrize("ending", ["deleted", "being deleted"])
async def test_a_resource_that_is_deleted_is_forgotten(ending: str) -> None:
    kube = FakeKube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    if ending == "deleted":
        del kube.live["RochallorWorker"]
    else:
        kube.live["RochallorWorker"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    kube.live.pop("Deployment")
    kube.applied.clear()
    assert await work.reconcile(KEY) is Result.SETTLED
    assert kube.applied == []
    kube.live["RochallorWorker"] = resource()
    await work.reconcile(KEY)
    assert kube.applied == ["ServiceAccount", "Service", "Deployment"], (
        "nothing is remembered about the former one's children"
    )


async def test_an_event_reports_a_transition_and_a_refused_one_changes_nothing() -> None:
    kube = FakeKube({"Deployment": KubernetesError(403, "cannot patch")})
    await reconciler(kube).reconcile(KEY)
    assert kube.events == ["Warning Forbidden"]
    kube = FakeKube({"Event": KubernetesError(403, "cannot create events")})
    assert await reconciler(kube).reconcile(KEY) is Result.UNSETTLED
    assert kube.condition("Degraded")[1] == "Healthy"


@pytest.mark.parametrize("status", [429, None])
async def test_an_event_waits_for_an_api_server_that_does_not_accept_it_now(status: int | None) -> None:
    kube = FakeKube({"Event": KubernetesError(status, "not now", retry_after=10)})
    assert await reconciler(kube).reconcile(KEY) is Result.FAILED
    assert kube.status == {}, "the next run makes the Event, and then the status"


async def test_a_resource_in_a_namespace_that_is_no_longer_served_is_left_alone() -> None:
    kube = FakeKube({})
    work = reconciler(kube)
    work.served = frozenset({"other"})
    assert await work.reconcile(KEY) is Result.SETTLED
    assert (kube.applied, kube.status) == ([], {})
