"""A refusal by a webhook or the scheduler is a reason too, and disappears with its cause. (Rights: test_rights.py.)"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import RefusedError, has
from integration.operator.samples import NAME, hpa, make_available, pods, replicas, resource, secret
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")


@contextmanager
def webhook_away(api: Api, group: str, version: str, kind: str) -> Iterator[None]:
    """While in the block, a webhook that does not answer must agree to each new object of a kind in the namespace."""
    name = f"away-{api.namespace}"
    webhook = {
        "name": "away.rochallor.test",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [{"apiGroups": [group], "apiVersions": [version], "operations": ["CREATE"], "resources": [kind]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 1,
    }
    api.create(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [webhook],
        }
    )
    try:
        yield
    finally:
        api.delete("ValidatingWebhookConfiguration", name)


def refused_by_webhook(api: Api, wanted: Object) -> bool:
    """Whether the API server knows the webhook by now: it learns of it through a watch, too."""
    try:
        api.create(wanted, dryRun="All")
    except RefusedError as error:
        return "away.rochallor.test" in str(error)
    return False


def test_a_secret_of_another_namespace_cannot_be_named(api: Api) -> None:
    api.create(secret("key", token="t"))
    used = {"name": "A", "valueFrom": {"secretKeyRef": {"name": f"../../{api.namespace}/secrets/key", "key": "x"}}}
    api.create(resource(env=[used]))
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "InvalidSpec", "no Secret can be named"))
    assert "token" not in str(live["status"])


def test_a_pod_that_fits_on_no_node(api: Api) -> None:
    api.create(resource())
    api.until_the("Deployment", NAME, replicas(1))
    [pod] = pods(api)
    sentence = "0/3 nodes are available: 3 Insufficient memory."
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": sentence}
    api.patch("Pod", pod["metadata"]["name"], {"status": {"conditions": [refused]}}, "/status")
    words = f"pod {pod['metadata']['name']}: {sentence}"
    api.until_the("RochallorWorker", NAME, has("Progressing", "False", "Unschedulable", words))


def test_pods_that_can_not_be_created(api: Api) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    with webhook_away(api, "", "v1", "pods"):
        wait_until(lambda: refused_by_webhook(api, pod))
        api.create(resource())
        words = ("failed calling webhook", "away.rochallor.test")
        live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "PodCreationFailed", *words))
        assert has("Ready", "False", "PodCreationFailed")(live)


def test_a_webhook_that_fails_for_the_autoscaler_alone(api: Api) -> None:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}, "maxReplicas": 1}
    probe = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "probe"},
        "spec": spec,
    }
    with webhook_away(api, "autoscaling", "v2", "horizontalpodautoscalers"):
        wait_until(lambda: refused_by_webhook(api, probe))
        api.create(resource(autoscaling=hpa()))
        make_available(api, 1)
        live = api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "False", "ApiError", "webhook"))
        assert has("Degraded", "False", "Healthy")(live)
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    api.until_the(
        "HorizontalPodAutoscaler", NAME, lambda _: True, timeout=150
    )  # after several refusals the pause is a minute
