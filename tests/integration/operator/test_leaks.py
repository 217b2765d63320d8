"""The content of Secrets is in nothing that the operator writes or logs, and cannot be derived from it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import COLLECTIONS, Api, has
from integration.operator.process import SYSTEM, Operator
from integration.operator.samples import NAME, hpa, make_available, pod_annotations, resource, secret
from integration.operator.test_secrets import HASH, VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

    from integration.operator.api import Object

PLANTED = "planted-7f3a"
USED: Object = {
    "transport": "kafka",
    "engine": {
        "url": "https://engine",
        "tokenSecret": {"name": "all", "key": "token"},
        "tls": {"caSecret": "all", "clientCertSecret": "all"},
        "databaseSecret": {"name": "all", "key": "dsn"},
    },
    "kafka": {
        "bootstrapServers": "kafka:9093",
        "securityProtocol": "SASL_SSL",
        "saslMechanism": "SCRAM-SHA-512",
        "credentialsSecret": "all",
        "tls": {"caSecret": "all", "clientCertSecret": "all"},
    },
    "env": [{"name": "DATABASE", "valueFrom": {"secretKeyRef": {"name": "all", "key": "dsn"}}}],
    "envFrom": [{"secretRef": {"name": "all"}}],
    "template": {"spec": {"volumes": [{"name": "v", "secret": {"secretName": "all"}}]}},
    "autoscaling": hpa(),
}
"""A resource that uses a Secret in every way."""
KEYS = ("token", "ca.crt", "tls.crt", "tls.key", "username", "password", "dsn")


def written(api: Api) -> str:
    """Everything in the namespace but the Secrets, as JSON."""
    left_out = {"Secret", "PodMonitor", "ScaledObject", "TriggerAuthentication"}  # the last three may not be served
    kinds = [kind for kind, path in COLLECTIONS.items() if "{}" in path and kind not in left_out]
    return json.dumps([api.every(kind) for kind in kinds])


def test_secrets_stay_where_they_are(api: Api, kubeconfig: Path) -> None:
    with Operator(kubeconfig, namespaces=api.namespace, log_level="DEBUG") as operator:
        api.create(secret("all", **{key: f"{PLANTED}-{key}" for key in KEYS if key != "dsn"}))
        api.create(resource(**USED))
        sentence = "Secret 'all' has no key 'dsn'"
        api.until_the("RochallorWorker", NAME, has("Degraded", "True", "SecretNotFound", sentence))
        api.patch("Secret", "all", {"stringData": {"dsn": f"postgres://{PLANTED}@db"}})
        make_available(api, 1)
        before = pod_annotations(api.the("Deployment", NAME))[HASH]
        api.patch("Secret", "all", {"stringData": {"dsn": f"postgres://{PLANTED}-rotated@db"}})
        api.until_the("Deployment", NAME, lambda live: pod_annotations(live)[HASH] != before)
        api.patch("RochallorWorker", NAME, {"spec": {"template": {"spec": {"dnsPolicy": "Wrong"}}}})
        api.until_the("RochallorWorker", NAME, has("Degraded", "True", "InvalidSpec", "dnsPolicy"))
        said = json.dumps(operator.lines) + operator.http("/metrics").text + operator.http("/readyz").text
    everything = said + written(api)
    assert '"SecretNotFound"' in everything, "its Event, too, is among the texts that are searched"
    for form in (PLANTED, base64.b64encode(PLANTED.encode()).decode()[:-2]):
        assert form not in everything


@pytest.mark.usefixtures("operator")
def test_the_hash_on_the_pods_does_not_help_to_guess_passwords(api: Api, cluster: Api) -> None:
    """S6. It needs a key that only the operator has, and it differs for another worker and in another namespace, so
    letting the operator compute a hash is no way to compare."""
    other = f"{api.namespace}-other"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    seen = set()
    with Api(cluster.kubeconfig, other) as there:
        for place, name in ((api, NAME), (api, "refunds"), (there, NAME)):
            if name == NAME:
                place.create(secret("gateway", token="12345"))
            place.create(resource(name, **VARIABLE))
            seen.add(pod_annotations(place.until_the("Deployment", name, lambda _: True))[HASH])
    assert len(seen) == 3
    with Api(cluster.kubeconfig, SYSTEM) as system:
        key = system.the("Secret", "rochallor-operator-hash-key")
    assert key["immutable"] is True
    assert len(base64.b64decode(key["data"]["key"])) == 32
    cluster.delete("Namespace", other)


@pytest.mark.usefixtures("operator")
def test_a_recreated_secret_with_the_same_content_rolls_nothing(api: Api) -> None:
    """Its uid, which a dry-run DELETE returns, is not part of the hash."""
    api.create(secret("gateway", token="12345"))
    api.create(resource(**VARIABLE))
    make_available(api, 1)
    before = api.the("Deployment", NAME)
    api.delete("Secret", "gateway")
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "SecretNotFound"))
    api.create(secret("gateway", token="12345"))
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))
    assert api.the("Deployment", NAME)["metadata"]["generation"] == before["metadata"]["generation"]


def test_a_name_leads_to_no_other_namespace(api: Api, cluster: Api, operator: Operator) -> None:
    """The operator may read all Secrets."""
    other = f"{api.namespace}-other"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    with Api(cluster.kubeconfig, other) as there:
        there.create(secret("victim", confidential="1"))
    names = (f"../../{other}/secrets/victim", f"..%2f..%2f{other}%2fsecrets%2fvictim", "..", "victim?watch=1")
    for number, name in enumerate(names):
        api.create(resource(f"w{number}", engine={"url": "http://e", "tokenSecret": {"name": name, "key": "token"}}))
        sentence = f"no Secret can be named {name!r}"
        api.until_the("RochallorWorker", f"w{number}", has("Degraded", "True", "InvalidSpec", sentence))
    assert "confidential" not in json.dumps(operator.lines) + written(api)
    cluster.delete("Namespace", other)
