"""Every field of the spec reaches the objects, when a resource is created and when it is edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from integration.operator.api import has
from integration.operator.samples import (
    NAME,
    account,
    code,
    container,
    environment,
    hpa,
    make_available,
    pod_annotations,
    pods,
    replicas,
    resource,
    secret,
    until_available,
    with_label,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")

SECRETS = [
    secret("ca", **{"ca.crt": "pem"}),
    secret("cert", **{"tls.crt": "pem", "tls.key": "pem"}),
    secret("token", token="secret"),
    secret("user", username="shop", password="secret"),
    secret("client", clientId="shop", clientSecret="secret"),
]
GATEWAY: Object = {
    "url": "https://engine",
    "grpcTarget": "engine:9090",
    "tls": {"caSecret": "ca", "clientCertSecret": "cert"},
    "tokenSecret": {"name": "token", "key": "token"},
}
BROKERS: Object = {
    "bootstrapServers": "kafka:9093",
    "securityProtocol": "SASL_SSL",
    "saslMechanism": "PLAIN",
    "credentialsSecret": "user",
    "tls": {"caSecret": "ca"},
}
TRANSPORTS: dict[str, tuple[Object, int]] = {
    "rest": ({"engine": GATEWAY}, 4),
    "grpc": ({"engine": GATEWAY, "transport": "grpc"}, 4),
    "kafka": ({"engine": GATEWAY, "transport": "kafka", "outcomeTransport": "grpc", "kafka": BROKERS}, 7),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_transport_with_its_secrets_as_files(api: Api, transport: str) -> None:
    for each in SECRETS:
        api.create(each)
    spec, files = TRANSPORTS[transport]
    api.create(resource(**spec))
    live = api.until_the("Deployment", NAME, lambda _: True)
    values = environment(live)
    assert values["ROCHALLOR_TRANSPORT"] == transport
    assert values["ROCHALLOR_ENGINE_URL"] == "https://engine"
    assert values["ROCHALLOR_ENGINE_GRPC_TARGET"] == "engine:9090"
    assert len([name for name in values if name.endswith("_FILE")]) == files
    assert "secret" not in values.values()
    (volume,) = [item for item in live["spec"]["template"]["spec"]["volumes"] if item["name"] == "connections"]
    assert len(volume["projected"]["sources"]) == files
    make_available(api, 1)
    resource_now = api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    assert resource_now["status"]["transport"] == transport


def test_the_transport_may_change(api: Api) -> None:
    api.create(resource())
    make_available(api, 1)
    brokers = {"bootstrapServers": "kafka:9092"}
    api.patch("RochallorWorker", NAME, {"spec": {"transport": "kafka", "kafka": brokers}})
    live = api.until_the("Deployment", NAME, lambda seen: environment(seen)["ROCHALLOR_TRANSPORT"] == "kafka")
    assert environment(live)["ROCHALLOR_KAFKA_BOOTSTRAP_SERVERS"] == "kafka:9092"
    back = {"transport": "grpc", "kafka": None, "engine": {"url": None, "grpcTarget": "engine:9090"}}
    api.patch("RochallorWorker", NAME, {"spec": back})
    live = api.until_the("Deployment", NAME, lambda seen: environment(seen)["ROCHALLOR_TRANSPORT"] == "grpc")
    assert not [name for name in environment(live) if "KAFKA" in name or name == "ROCHALLOR_ENGINE_URL"]
    until_available(api)


def variable(name: str, value: str | None) -> Callable[[Object], bool]:
    return lambda live: environment(live).get(f"ROCHALLOR_{name}") == value


def pod(**fields: Any) -> Callable[[Object], bool]:
    return lambda live: all(live["spec"]["template"]["spec"].get(name) == value for name, value in fields.items())


def worker(**fields: Any) -> Callable[[Object], bool]:
    return lambda live: all(container(live).get(name) == value for name, value in fields.items())


def volume(name: str, *, there: bool) -> Callable[[Object], bool]:
    return lambda live: there is any(item["name"] == name for item in live["spec"]["template"]["spec"]["volumes"])


def template(**spec: Any) -> Object:
    return {"template": {"spec": spec}}


EDITS: dict[str, tuple[Object, Callable[[Object], bool]]] = {
    "engine.url": ({"engine": {"url": "http://other:8080"}}, variable("ENGINE_URL", "http://other:8080")),
    "engine.headers": (
        {"engine": {"headers": [{"name": "A", "value": "b"}, {"name": "C", "value": "d"}]}},
        variable("ENGINE_HEADERS", "A: b\nC: d"),
    ),
    "engine.tokenSecret": (
        {"engine": {"tokenSecret": {"name": "token", "key": "token"}}},
        variable("ENGINE_TOKEN_FILE", "/etc/rochallor/engine/token"),
    ),
    "engine.oauth": (
        {"engine": {"tokenSecret": None, "oauth": {"tokenUrl": "https://login/token", "credentialsSecret": "client"}}},
        variable("ENGINE_OAUTH_TOKEN_URL", "https://login/token"),
    ),
    "engine.tls": (
        {"engine": {"url": "https://engine", "tls": {"caSecret": "ca"}}},
        variable("ENGINE_CA_FILE", "/etc/rochallor/engine/ca.crt"),
    ),
    "jobTypes": ({"jobTypes": ["a", "b"]}, variable("JOB_TYPES", "a,b")),
    "parallelism": ({"parallelism": 8}, variable("PARALLELISM", "8")),
    "limits": (
        {"limits": [{"jobType": "charge-card", "perSecond": 0.5}]},
        variable("LIMITS", '[{"jobType":"charge-card","perSecond":0.5}]'),
    ),
    "limits of all pods": (
        {"limits": [{"jobType": "charge-card", "perSecond": 5.0, "scope": "resource"}]},
        variable("LIMITS", '[{"jobType":"charge-card","perSecond":5,"scope":"resource"}]'),
    ),
    "limits.scope": (
        {"limits": [{"jobType": "charge-card", "perSecond": 5, "scope": "resource"}]},
        volume("scale", there=True),
    ),
    "pollInterval": ({"pollInterval": "1s"}, variable("POLL_INTERVAL", "1s")),
    "lease": ({"lease": "5s"}, variable("LEASE", "5s")),
    "handlerTimeout": ({"handlerTimeout": "20s"}, variable("HANDLER_TIMEOUT", "20s")),
    "drainTimeout": ({"drainTimeout": "5s"}, pod(terminationGracePeriodSeconds=15)),
    "handlers.module": ({"handlers": {"module": "shop.other:registry"}}, variable("HANDLERS", "shop.other:registry")),
    "handlers.configMap": (
        {"handlers": {"module": None, "configMap": {"name": "code", "module": "handlers:registry"}}},
        volume("handlers", there=True),
    ),
    "image": ({"image": "worker:other"}, worker(image="worker:other")),
    "imagePullPolicy": ({"imagePullPolicy": "Always"}, worker(imagePullPolicy="Always")),
    "imagePullSecrets": ({"imagePullSecrets": [{"name": "absent"}]}, pod(imagePullSecrets=[{"name": "absent"}])),
    "replicas": ({"replicas": 3}, lambda live: live["spec"]["replicas"] == 3),
    "resources": (
        {"resources": {"limits": {"memory": "256Mi"}}},
        worker(resources={"limits": {"memory": "256Mi"}}),
    ),
    "env": ({"env": [{"name": "A", "value": "1"}]}, lambda live: environment(live).get("A") == "1"),
    "envFrom": ({"envFrom": [{"secretRef": {"name": "user"}}]}, worker(envFrom=[{"secretRef": {"name": "user"}}])),
    "journal": ({"journal": False}, volume("journal", there=False)),
    "template.metadata": (
        {"template": {"metadata": {"annotations": {"mesh": "on"}}}},
        lambda live: pod_annotations(live).get("mesh") == "on",
    ),
    "template.spec": (template(nodeSelector={"disk": "ssd"}), pod(nodeSelector={"disk": "ssd"})),
    "template with a sidecar": (
        template(containers=[{"name": "proxy", "image": "proxy:1"}]),
        lambda live: len(live["spec"]["template"]["spec"]["containers"]) == 2,
    ),
    "template with null": (template(topologySpreadConstraints=None), pod(topologySpreadConstraints=None)),
    "template with another service account": (
        template(serviceAccountName="shop"),
        pod(serviceAccountName="shop"),
    ),
}


@pytest.mark.parametrize("field", EDITS)
def test_an_edit_reaches_the_deployment_and_so_does_its_removal(api: Api, field: str) -> None:
    for each in (*SECRETS, code(), with_label(account("shop"))):
        api.create(each)
    original = resource()
    api.create(original)
    before = api.until_the("Deployment", NAME, lambda _: True)
    change, wanted = EDITS[field]
    assert not wanted(before)
    edited = merged(original["spec"], change)
    api.replace("RochallorWorker", NAME, {"spec": edited})
    api.until_the("Deployment", NAME, wanted)
    api.replace("RochallorWorker", NAME, {"spec": original["spec"]})
    api.until_the("Deployment", NAME, lambda live: live["spec"] == before["spec"])


def merged(old: Object, change: Object) -> Object:
    """change merged over old, as an editor would do; null at the top of a change removes, in a template it stays."""
    result = dict(old)
    for name, value in change.items():
        if isinstance(value, dict) and name in {"engine", "handlers"}:
            result[name] = {key: item for key, item in (result[name] | value).items() if item is not None}
        else:
            result[name] = value
    return result


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (template(containers=None), "spec.template: the container 'worker' must not be removed"),
        (template(containers=[{"image": "proxy:1"}]), "spec.template: each item of containers needs its name"),
        (template(containers=[{"name": "main"}]), "image: Required value"),
        ({"template": {"metadata": {"labels": {"rochallor.io/worker": "x"}}}}, "the label rochallor.io/worker must"),
        (template(restartPolicy="Never"), 'supported values: "Always"'),
    ],
)
def test_a_wrong_template_is_an_invalid_spec_and_changes_nothing(api: Api, change: Object, sentence: str) -> None:
    api.create(resource())
    make_available(api, 1)
    before = api.the("Deployment", NAME)["spec"]
    api.replace("RochallorWorker", NAME, {"spec": resource(**change)["spec"]})
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "InvalidSpec", sentence))
    assert api.the("Deployment", NAME)["spec"] == before
    api.replace("RochallorWorker", NAME, {"spec": resource()["spec"]})
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))


def test_a_restart_by_kubectl_stays(api: Api) -> None:
    api.create(resource())
    make_available(api, 1)
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    change = {"spec": {"template": {"metadata": {"annotations": restarted}}}}
    api.patch("Deployment", NAME, change)
    api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})
    live = api.until_the("Deployment", NAME, variable("PARALLELISM", "8"))
    assert pod_annotations(live) == restarted
    api.create(secret("token", token="1"))
    api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 9, "envFrom": [{"secretRef": {"name": "token"}}]}})
    live = api.until_the("Deployment", NAME, variable("PARALLELISM", "9"))
    assert pod_annotations(live).items() > restarted.items()


OPTIONAL: dict[str, Object] = {
    "HorizontalPodAutoscaler": {"autoscaling": hpa(2, 5)},
    "PodDisruptionBudget": {"replicas": 2, "disruptionBudget": {"maxUnavailable": 1}},
}


@pytest.mark.parametrize("kind", OPTIONAL)
def test_an_optional_child_is_created_and_removed_with_its_field(api: Api, kind: str) -> None:
    api.create(resource())
    make_available(api, 1)
    assert api.get(kind, NAME) is None
    api.replace("RochallorWorker", NAME, {"spec": resource(**OPTIONAL[kind])["spec"]})
    live = api.until_the(kind, NAME, lambda _: True)
    assert live["metadata"]["ownerReferences"][0]["kind"] == "RochallorWorker"
    api.replace("RochallorWorker", NAME, {"spec": resource()["spec"]})
    api.until(kind, NAME, lambda found: found is None)
    until_available(api)
    assert len(pods(api)) == 1
    api.until("Deployment", NAME, replicas(1))


def test_a_budget_is_removed_when_a_single_pod_is_left(api: Api) -> None:
    api.create(resource(replicas=2, disruptionBudget={"maxUnavailable": "50%"}))
    live = api.until_the("PodDisruptionBudget", NAME, lambda _: True)
    assert live["spec"] == {
        "maxUnavailable": "50%",
        "selector": {"matchLabels": {"rochallor.io/worker": NAME}},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    api.patch("RochallorWorker", NAME, {"spec": {"replicas": 1}}, "/scale")
    api.until("PodDisruptionBudget", NAME, lambda found: found is None)
