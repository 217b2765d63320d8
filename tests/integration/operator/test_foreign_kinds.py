"""Objects of KEDA and the Prometheus Operator, in a cluster that serves them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import has
from integration.operator.process import Operator
from integration.operator.samples import KEDA, MONITORED, NAME, hpa, make_available, resource, secret
from rochallor_operator.names import APIS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.operator.api import Api, Object

KINDS: dict[str, Object] = {"ScaledObject": KEDA, "TriggerAuthentication": KEDA, "PodMonitor": MONITORED}


@pytest.fixture(scope="module")
def operator(known: None, kubeconfig: Path) -> Iterator[Operator]:
    """An operator that found the kinds when it started."""
    with Operator(kubeconfig, worker_image="worker:test") as running:
        running.event("watching")
        yield running


pytestmark = pytest.mark.usefixtures("operator")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_created_reverted_and_removed(api: Api, kind: str) -> None:
    api.create(resource())
    make_available(api, 1)
    api.replace("RochallorWorker", NAME, {"spec": resource(**KINDS[kind])["spec"]})
    made = api.until_the(kind, NAME, lambda _: True)
    api.patch(kind, NAME, {"metadata": {"labels": None}})
    api.until_the(kind, NAME, lambda live: live["metadata"].get("labels") == made["metadata"]["labels"], timeout=30)
    api.delete(kind, NAME)
    uid = made["metadata"]["uid"]
    api.until(kind, NAME, lambda live: live is not None and live["metadata"]["uid"] != uid, timeout=30)
    api.replace("RochallorWorker", NAME, {"spec": resource()["spec"]})
    api.until(kind, NAME, lambda live: live is None)


def test_the_objects_for_keda(api: Api) -> None:
    api.create(resource(**KEDA))
    spec = api.until_the("ScaledObject", NAME, lambda _: True)["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 5)
    assert [trigger["type"] for trigger in spec["triggers"]] == ["prometheus", "postgresql"]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
    (reference,) = api.the("TriggerAuthentication", NAME)["spec"]["secretTargetRef"]
    assert reference == {"parameter": "connection", "name": "db", "key": "dsn"}


def test_prometheus_with_credentials_and_triggers_of_ones_own(api: Api) -> None:
    prometheus = {
        "address": "https://prometheus:9090",
        "credentialsSecret": "prometheus",
        "tls": {"caSecret": "ca"},
        "headers": [{"name": "X-Scope-OrgID", "value": "shop"}],
    }
    trigger = {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 8 * * *", "desiredReplicas": "3"}}
    scaling = hpa() | {"provider": "keda", "targetWait": "5s", "prometheus": prometheus, "triggers": [trigger]}
    api.create(resource(autoscaling=scaling))
    busy, wait, own = api.until_the("ScaledObject", NAME, lambda _: True)["spec"]["triggers"]
    for ours in (busy, wait):
        assert ours["authenticationRef"] == {"name": NAME}
        assert ours["metadata"]["authModes"] == "basic"
        assert ours["metadata"]["customHeaders"] == "X-Scope-OrgID=shop"
    assert (wait["metricType"], wait["metadata"]["threshold"]) == ("Value", "5.0")
    assert own == trigger
    assert [item["parameter"] for item in api.the("TriggerAuthentication", NAME)["spec"]["secretTargetRef"]] == [
        "username",
        "password",
        "ca",
    ]


def test_credentials_of_the_cluster_are_refused(api: Api) -> None:
    reference = {"name": "cloud", "kind": "ClusterTriggerAuthentication"}
    trigger = {"type": "aws-sqs-queue", "metadata": {"queueURL": "https://mine"}, "authenticationRef": reference}
    api.create(resource(autoscaling=hpa() | {"provider": "keda", "triggers": [trigger]}))
    words = "ClusterTriggerAuthentication 'cloud' breaks the operator's templatePolicy 'baseline'"
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "PolicyViolation", words))
    assert api.get("ScaledObject", NAME) is None


def is_shown(live: Object, *, wanted: bool) -> bool:
    """Whether the status shows an autoscaler, or none."""
    return ("autoscaler" in live.get("status", {})) is wanted


def test_a_pause_that_someone_has_set_survives_suspend(api: Api) -> None:
    pause = {"autoscaling.keda.sh/paused": "true"}
    api.create(secret("db", dsn="x"))
    api.create(resource(**KEDA))
    uid = api.until_the("ScaledObject", NAME, lambda _: True)["metadata"]["uid"]
    api.patch("ScaledObject", NAME, {"metadata": {"annotations": pause}})
    # As KEDA does. It shows, too, that the operator has seen the pause before the suspend.
    paused = {"type": "Paused", "status": "True", "reason": "ScaledObjectPaused", "message": "paused by its annotation"}
    api.patch("ScaledObject", NAME, {"status": {"conditions": [paused]}}, "/status")
    api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "False", "Paused"))
    for suspend in (True, False):
        api.patch("RochallorWorker", NAME, {"spec": {"suspend": suspend}})
        shown = partial(is_shown, wanted=not suspend)
        api.until_the("RochallorWorker", NAME, shown)
        live = api.the("ScaledObject", NAME)["metadata"]
        assert (live["uid"], live["annotations"]) == (uid, pause)
        api.until_the("Deployment", NAME, lambda live: live["spec"]["replicas"] == 0)
    assert api.get("TriggerAuthentication", NAME) is not None


def test_kafka_is_scaled_on_the_lag_of_each_job_type(api: Api) -> None:
    api.create(secret("user", username="shop", password="secret"))
    brokers = {
        "bootstrapServers": "kafka:9092",
        "securityProtocol": "SASL_PLAINTEXT",
        "saslMechanism": "SCRAM-SHA-512",
        "credentialsSecret": "user",
    }
    scaling = hpa(0, 5) | {"provider": "keda"}
    spec: Object = {"transport": "kafka", "kafka": brokers, "jobTypes": ["a", "b"], "autoscaling": scaling}
    api.create(resource(**spec))
    triggers = api.until_the("ScaledObject", NAME, lambda _: True)["spec"]["triggers"]
    assert [trigger["metadata"]["topic"] for trigger in triggers] == ["workflow.jobs.a", "workflow.jobs.b"]
    assert [item["parameter"] for item in api.the("TriggerAuthentication", NAME)["spec"]["secretTargetRef"]] == [
        "username",
        "password",
    ]


def test_kedas_conditions_become_the_autoscalers(api: Api) -> None:
    api.create(resource(**KEDA))
    make_available(api, 1)
    api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "False", "Starting"))
    ready = {"type": "Ready", "status": "True", "reason": "ScaledObjectReady", "message": "defined correctly"}

    def report(*conditions: Object) -> None:
        api.patch("ScaledObject", NAME, {"status": {"conditions": list(conditions)}}, "/status")

    report(ready)
    api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "True", "InPlace"), timeout=30)
    fallback = {"type": "Fallback", "status": "True", "reason": "FallbackExists", "message": "a trigger falls back"}
    report(ready, fallback)
    words = ("AutoscalerReady", "False", "MetricsUnavailable", "a trigger falls back")
    live = api.until_the("RochallorWorker", NAME, has(*words), timeout=30)
    assert has("Ready", "True", "Available")(live)
    stuck = {"type": "HPAActive", "status": "False", "reason": "FailedGetExternalMetric", "message": "no such metric"}
    report(ready, stuck)  # KEDA 2.18 and newer: what its HorizontalPodAutoscaler says
    words = ("AutoscalerReady", "False", "MetricsUnavailable", "no such metric")
    api.until_the("RochallorWorker", NAME, has(*words), timeout=30)


def test_the_provider_may_change(api: Api) -> None:
    api.create(resource(**KEDA))
    api.until_the("ScaledObject", NAME, lambda _: True)
    api.replace("RochallorWorker", NAME, {"spec": resource(autoscaling=hpa())["spec"]})
    api.until_the("HorizontalPodAutoscaler", NAME, lambda _: True)
    assert api.get("ScaledObject", NAME) is None
    assert api.get("TriggerAuthentication", NAME) is None
    live = api.until_the(
        "RochallorWorker",
        NAME,
        lambda seen: seen["status"].get("autoscaler", {}).get("kind") == "HorizontalPodAutoscaler",
    )
    assert live["status"]["autoscaler"]["name"] == NAME


@pytest.mark.parametrize(
    ("kind", "condition"), [("ScaledObject", "AutoscalerReady"), ("PodMonitor", "PodMonitorReady")]
)
def test_a_foreign_object_of_that_name_is_left_alone(api: Api, kind: str, condition: str) -> None:
    group, version, _ = APIS[kind]
    theirs = {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": {"name": NAME}, "spec": {"theirs": True}}
    api.create(theirs)
    api.create(resource(**KINDS[kind]))
    sentence = f"{kind} '{NAME}' exists and is not part of this resource"
    api.until_the("RochallorWorker", NAME, has(condition, "False", "NameConflict", sentence))
    make_available(api, 1)
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    assert api.the(kind, NAME)["spec"] == {"theirs": True}
