"""A problem reaches the resource's conditions as a reason and a sentence, and disappears with its cause."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from integration.operator.api import has
from integration.operator.samples import (
    NAME,
    code,
    hpa,
    make_available,
    pods,
    replicas,
    resource,
    until_available,
    with_config_map,
)

if TYPE_CHECKING:
    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")


def problem(api: Api, **state: Any) -> str:
    """Write a container's problem into the status of the worker's only pod; the pod's name."""
    api.until_the("Deployment", NAME, replicas(1))
    (pod,) = pods(api)
    name: str = pod["metadata"]["name"]
    container = {"name": "worker", "image": "worker:test", "imageID": "", "ready": False, "restartCount": 1, **state}
    api.patch("Pod", name, {"status": {"phase": "Running", "containerStatuses": [container]}}, "/status")
    return name


def ended(message: str) -> Object:
    return {"terminated": {"exitCode": 2, "reason": "Error", "message": message}}


def test_a_crashing_pod_is_named_with_the_reason_of_its_exit(api: Api) -> None:
    api.create(resource())
    words = "handlers 'shop.handlers:registry': No module named 'shop'"
    pod = problem(api, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(words + "\n"))
    # The operator doesn't watch pods: it checks again while the Deployment isn't there yet.
    api.until_the("RochallorWorker", NAME, has("Progressing", "False", "CrashLoopBackOff", f"pod {pod}: {words}"))
    live = api.until_the("RochallorWorker", NAME, has("Ready", "False", "CrashLoopBackOff", pod))
    assert has("Degraded", "False", "Healthy")(live)
    problem(api, ready=True, started=True, state={"running": {}}, lastState=ended(words + "\n"))
    make_available(api, 1)
    # How it exited is still there, but not that it was a moment ago.
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))


def test_termination_messages_are_one_printable_line(api: Api) -> None:
    api.create(resource())
    words = "\x1b[2Jall is well\x1b[0m \u202eton"
    pod = problem(api, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(words))
    sentence = rf"pod {pod}: \x1b[2Jall is well\x1b[0m \u202eton"
    live = api.until_the("RochallorWorker", NAME, has("Ready", "False", "CrashLoopBackOff", sentence))
    assert str(live["status"]).isprintable()


def test_many_keys_do_not_make_a_status_too_large(api: Api) -> None:
    keys = {f"{number:04}-{'x' * 245}": "" for number in range(3_500)}
    api.create(code() | {"data": keys})
    api.create(with_config_map())
    words = ("has no key 'handlers.py'; it has 0000-xxx",)
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConfigMapNotFound", *words))
    assert len(str(live["status"])) < 10_000


def test_an_image_that_can_not_be_pulled(api: Api) -> None:
    api.create(resource(image="nowhere/worker:1"))
    pod = problem(api, image="nowhere/worker:1", state={"waiting": {"reason": "ErrImagePull", "message": "…"}})
    sentence = f"pod {pod}: image 'nowhere/worker:1' can't be pulled"
    api.until_the("RochallorWorker", NAME, has("Progressing", "False", "ImagePullBackOff", sentence))


def test_a_missing_config_map(api: Api) -> None:
    api.create(with_config_map())
    sentence = "ConfigMap 'code' with the key 'handlers.py' does not exist"
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConfigMapNotFound", sentence))
    assert has("Ready", "False", "ConfigMapNotFound", sentence)(live)
    assert api.get("Deployment", NAME) is None
    api.create(code(key="other.py"))
    sentence = "ConfigMap 'code' has no key 'handlers.py'; it has other.py"
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConfigMapNotFound", sentence))
    api.patch("ConfigMap", "code", {"data": {"handlers.py": "registry = ..."}})
    api.until_the("Deployment", NAME, lambda _: True)
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))


def test_running_pods_survive_without_their_config_map(api: Api) -> None:
    api.create(code())
    api.create(with_config_map())
    make_available(api, 1)
    template = api.the("Deployment", NAME)["spec"]["template"]
    api.delete("ConfigMap", "code")
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConfigMapNotFound"))
    api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})
    live = api.until_the("Deployment", NAME, lambda seen: seen["spec"]["replicas"] == 2)
    assert live["spec"]["template"] == template


FOREIGN: dict[str, tuple[str, str, Object]] = {
    "Deployment": (
        NAME,
        "apps/v1",
        {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "other"}},
            "template": {
                "metadata": {"labels": {"app": "other"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    ),
    "Service": (f"{NAME}-metrics", "v1", {"selector": {"app": "other"}, "ports": [{"port": 80}]}),
    "ServiceAccount": (f"{NAME}-worker", "v1", {}),
    "PodDisruptionBudget": (NAME, "policy/v1", {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "other"}}}),
    "HorizontalPodAutoscaler": (
        NAME,
        "autoscaling/v2",
        {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "other", "apiVersion": "apps/v1"}},
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_child_is_refused_and_left_alone(api: Api, kind: str) -> None:
    name, version, spec = FOREIGN[kind]
    api.create({"apiVersion": version, "kind": kind, "metadata": {"name": name}} | ({"spec": spec} if spec else {}))
    api.create(resource(autoscaling=hpa(), disruptionBudget={"maxUnavailable": 1}))
    sentence = f"{kind} '{name}' exists and is not part of this resource"
    if kind == "HorizontalPodAutoscaler":
        live = api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "False", "NameConflict", sentence))
        assert has("Degraded", "False", "Healthy")(live)
    else:
        live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "NameConflict", sentence))
    if kind in {"Deployment", "ServiceAccount"}:
        assert has("Ready", "False", "NameConflict")(live)
        assert api.get("HorizontalPodAutoscaler", NAME) is None, "it would scale what isn't ours"
    else:
        make_available(api, 1)
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    if kind == "ServiceAccount":
        assert api.get("Deployment", NAME) is None, "its pods would run as someone else's account"
    foreign = api.the(kind, name)
    assert "labels" not in foreign["metadata"]
    assert "ownerReferences" not in foreign["metadata"]
    api.delete(kind, name)
    # No event: what isn't ours is not watched. After several refusals the pause is a minute.
    api.until_the(kind, name, lambda found: found["metadata"].get("ownerReferences"), timeout=150)
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))


@pytest.mark.parametrize(
    ("spec", "condition", "reason", "sentence"),
    [
        (
            {
                "autoscaling": {
                    "maxReplicas": 5,
                    "provider": "keda",
                    "prometheus": {"address": "http://prometheus:9090"},
                }
            },
            "AutoscalerReady",
            "KedaNotInstalled",
            "the cluster has no ScaledObjects: install KEDA",
        ),
        (
            {"metrics": {"podMonitor": True}},
            "PodMonitorReady",
            "PodMonitorNotInstalled",
            "the cluster has no PodMonitors: install the Prometheus Operator's CRDs",
        ),
    ],
)
def test_kinds_that_the_cluster_does_not_serve(
    api: Api, spec: Object, condition: str, reason: str, sentence: str
) -> None:
    api.create(resource(**spec))
    make_available(api, 1)
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    live = api.until_the("RochallorWorker", NAME, has(condition, "False", reason, sentence))
    assert has("Degraded", "False", "Healthy")(live)
    assert "autoscaler" not in live["status"]
    api.replace("RochallorWorker", NAME, {"spec": resource()["spec"]})
    api.until_the(
        "RochallorWorker", NAME, lambda seen: all(c["type"] != condition for c in seen["status"]["conditions"])
    )


def test_a_pod_template_that_kubernetes_refuses(api: Api) -> None:
    api.create(resource(resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}))
    api.until_the(
        "RochallorWorker", NAME, has("Degraded", "True", "InvalidSpec", "memory", "must be less than or equal")
    )
    api.patch("RochallorWorker", NAME, {"spec": {"resources": {"requests": {"memory": "1Gi"}}}})
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))


def test_a_quota_on_pods(api: Api) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"pods": "0"}},
    }
    api.create(quota)
    api.until_the("ResourceQuota", "small", lambda live: "hard" in live.get("status", {}))
    api.create(resource())
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "QuotaExceeded", "exceeded quota: small"))


def test_a_quota_on_deployments(api: Api) -> None:
    hard = {"count/deployments.apps": "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": hard}}
    api.create(quota)
    api.until_the("ResourceQuota", "none", lambda live: "hard" in live.get("status", {}))
    api.create(resource())
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "QuotaExceeded", "exceeded quota: none"))
    assert api.get("Service", f"{NAME}-metrics") is not None


def quota(api: Api, **hard: str) -> None:
    """Allow no more of something; its name is "none"."""
    spec = {"hard": {name.replace("__", "/").replace("_", "."): limit for name, limit in hard.items()}}
    api.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": spec})
    api.until_the("ResourceQuota", "none", lambda live: "hard" in live.get("status", {}))


def test_a_quota_on_budgets_says_nothing_about_the_pods(api: Api) -> None:
    quota(api, count__poddisruptionbudgets_policy="0")
    api.create(resource(replicas=3, disruptionBudget={"maxUnavailable": 1}))
    make_available(api, 3)
    live = api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available", "3 of 3 pods"))
    assert has("Degraded", "True", "QuotaExceeded", "exceeded quota: none")(live)


def test_a_quota_for_the_running_pods_is_enough_when_an_old_pod_may_be_stopped_first(api: Api) -> None:
    quota(api, pods="1")
    api.create(resource(maxSurge=0, maxUnavailable=1))
    make_available(api, 1)
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})
    until_available(api)


def test_pods_that_are_no_longer_ready_are_named_and_a_paused_rollout_too(api: Api) -> None:
    api.create(resource())
    make_available(api, 1)
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": now}
    worker = {
        "name": "worker",
        "image": "worker:test",
        "imageID": "",
        "ready": True,
        "restartCount": 0,
        "started": True,
    }
    proxy = worker | {"name": "proxy", "ready": False, "state": {"running": {}}}
    (pod,) = pods(api)
    status = {"conditions": [unready], "containerStatuses": [worker, proxy], "startTime": "2026-01-01T00:00:00Z"}
    api.patch("Pod", pod["metadata"]["name"], {"status": status}, "/status")
    words = f"pod {pod['metadata']['name']}: container 'proxy' runs, but its readiness probe fails"
    live = api.until_the("RochallorWorker", NAME, has("Ready", "False", "PodsNotReady", words))
    assert has("Stalled", "True", "PodsNotReady")(live)
    api.patch("Pod", pod["metadata"]["name"], {"status": {"conditions": [unready | {"status": "True"}]}}, "/status")
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    api.patch("Deployment", NAME, {"spec": {"paused": True}})
    api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})
    api.until_the("RochallorWorker", NAME, has("Ready", "False", "Paused", "kubectl rollout resume"))
    api.patch("Deployment", NAME, {"spec": {"paused": False}})
    until_available(api)
