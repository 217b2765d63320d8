"""Secrets and ConfigMaps in use: missing ones are named, a change of their content rolls the pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.operator.api import has
from integration.operator.samples import NAME, make_available, pod_annotations, resource, secret

if TYPE_CHECKING:
    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")

TOKEN: Object = {"engine": {"url": "http://engine:8080", "tokenSecret": {"name": "gateway", "key": "token"}}}
VARIABLE: Object = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "gateway", "key": "token"}}}]}
HASH = "rochallor.io/config-hash"


def config_map(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_a_missing_secret_is_named_with_its_key_and_the_resource_recovers(api: Api) -> None:
    api.create(resource(**TOKEN))
    sentence = "Secret 'gateway' with the key 'token' does not exist"
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "SecretNotFound", sentence))
    assert has("Ready", "False", "SecretNotFound", sentence)(live)
    assert api.get("Deployment", NAME) is None
    api.create(secret("gateway", other="x"))
    sentence = "Secret 'gateway' has no key 'token'"
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "SecretNotFound", sentence))
    assert "other" not in str(live["status"]), "readers of the resource need not be allowed to read Secrets"
    api.patch("Secret", "gateway", {"stringData": {"token": "1"}})
    api.until_the("Deployment", NAME, lambda _: True)
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))


def test_an_unrelated_secret_changes_nothing(api: Api) -> None:
    api.create(secret("gateway", token="1"))
    api.create(resource(**VARIABLE))
    make_available(api, 1)
    before = pod_annotations(api.the("Deployment", NAME))
    api.create(secret("other", token="2"))
    api.patch("Secret", "gateway", {"metadata": {"labels": {"team": "shop"}}, "stringData": {"unused": "3"}})
    api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})  # the next reconcile is for all
    live = api.until_the("Deployment", NAME, lambda seen: seen["spec"]["replicas"] == 2)
    assert pod_annotations(live) == before


def env(part: str, source: str) -> Object:
    return {"env": [{"name": "A", "valueFrom": {part: {"name": source, "key": "k"}}}]}


USES: dict[str, tuple[str, Object]] = {
    "a variable from a Secret": ("Secret", env("secretKeyRef", "source")),
    "a variable from a ConfigMap": ("ConfigMap", env("configMapKeyRef", "source")),
    "all of a Secret": ("Secret", {"envFrom": [{"secretRef": {"name": "source"}}]}),
    "all of a ConfigMap": ("ConfigMap", {"envFrom": [{"configMapRef": {"name": "source"}}]}),
    "a volume of the template": (
        "Secret",
        {"template": {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "source"}}]}}},
    ),
    "a sidecar": (
        "ConfigMap",
        {
            "template": {
                "spec": {
                    "containers": [
                        {"name": "proxy", "image": "proxy:1", "envFrom": [{"configMapRef": {"name": "source"}}]}
                    ]
                }
            }
        },
    ),
}


@pytest.mark.parametrize("use", USES)
def test_a_change_of_content_rolls_the_pods(api: Api, use: str) -> None:
    kind, spec = USES[use]
    api.create(secret("source", k="1") if kind == "Secret" else config_map("source", k="1"))
    api.create(resource(**spec))
    make_available(api, 1)
    before = pod_annotations(api.the("Deployment", NAME))[HASH]
    api.patch(kind, "source", {"stringData" if kind == "Secret" else "data": {"k": "2"}})
    api.until_the("Deployment", NAME, lambda live: pod_annotations(live)[HASH] != before, timeout=30)
    api.until_the("Deployment", NAME, lambda live: live["status"].get("updatedReplicas") == 1)


def test_a_token_that_the_worker_reloads_itself_rolls_nothing(api: Api) -> None:
    """O15: a token that is rotated every minute restarted all pods every minute."""
    api.create(secret("gateway", token="1"))
    api.create(resource(**TOKEN))
    make_available(api, 1)
    before = api.the("Deployment", NAME)
    api.patch("Secret", "gateway", {"stringData": {"token": "2"}})
    api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})  # the next reconcile is for both
    live = api.until_the("Deployment", NAME, lambda seen: seen["spec"]["replicas"] == 2)
    assert live["spec"]["template"] == before["spec"]["template"]
    assert live["metadata"]["generation"] == before["metadata"]["generation"] + 1


def test_an_optional_source_may_come_later_and_then_rolls_the_pods(api: Api) -> None:
    api.create(resource(envFrom=[{"secretRef": {"name": "later", "optional": True}}]))
    make_available(api, 1)
    before = pod_annotations(api.the("Deployment", NAME))[HASH]
    api.create(secret("later", k="1"))
    api.until_the("Deployment", NAME, lambda live: pod_annotations(live)[HASH] != before, timeout=30)


def test_pull_secrets_need_not_exist(api: Api) -> None:
    api.create(resource(imagePullSecrets=[{"name": "absent"}]))
    live = make_available(api, 1)
    assert has("Degraded", "False", "Healthy")(live)
    assert pod_annotations(api.the("Deployment", NAME)) == {}


def test_running_pods_survive_without_their_secret(api: Api) -> None:
    api.create(secret("gateway", token="1"))
    api.create(resource(**TOKEN))
    make_available(api, 1)
    template = api.the("Deployment", NAME)["spec"]["template"]
    api.delete("Secret", "gateway")
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "SecretNotFound"))
    api.patch("RochallorWorker", NAME, {"spec": {"suspend": True}})
    live = api.until_the("Deployment", NAME, lambda seen: seen["spec"]["replicas"] == 0)
    assert live["spec"]["template"] == template
