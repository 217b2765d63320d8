"""Where the restricted Pod Security Standard is enforced, all pods are admitted, and a breach is named."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import RefusedError, has
from integration.operator.samples import NAME, code, hpa, make_available, replicas, resource, secret, with_config_map
from integration.operator.test_chart import objects
from waiting import wait_until

if TYPE_CHECKING:
    from integration.operator.api import Api, Object

ENFORCED = {"pod-security.kubernetes.io/enforce": "restricted"}
SIDECAR: Object = {"spec": {"containers": [{"name": "proxy", "image": "proxy:1"}]}}

VARIANTS: dict[str, Object] = {
    "rest": resource(),
    "handlers in a ConfigMap": with_config_map(),
    "without a journal": resource(journal=False),
    "grpc": resource(transport="grpc", engine={"grpcTarget": "https://engine:9090", "tls": {"caSecret": "all"}}),
    "kafka": resource(
        transport="kafka",
        engine={"url": "https://engine", "tokenSecret": {"name": "all", "key": "token"}},
        kafka={
            "bootstrapServers": "kafka:9093",
            "securityProtocol": "SASL_SSL",
            "saslMechanism": "PLAIN",
            "credentialsSecret": "all",
            "tls": {"clientCertSecret": "all"},
        },
    ),
    "an autoscaler": resource(autoscaling=hpa()),
}


@pytest.fixture
def restricted(api: Api) -> Api:
    """The cluster in a namespace that enforces the standard."""
    api.patch("Namespace", api.namespace, {"metadata": {"labels": ENFORCED}})
    wait_until(partial(enforced, api))
    return api


def enforced(api: Api) -> bool:
    """Whether the API server knows the label by now: it learns of it through a watch, too."""
    try:
        api.create(pod({"containers": [{"name": "any", "image": "any:1"}]}), dryRun="All")
    except RefusedError as error:
        return "violates PodSecurity" in str(error)
    return False


def pod(spec: Object) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pods_of_workers_are_admitted(restricted: Api, variant: str) -> None:
    keys = ("token", "username", "password", "ca.crt", "tls.crt", "tls.key")
    restricted.create(secret("all", **dict.fromkeys(keys, "x")))
    restricted.create(code())
    restricted.create(VARIANTS[variant])
    restricted.until_the("Deployment", NAME, replicas(1))


@pytest.mark.usefixtures("operator")
def test_a_template_that_breaks_it_is_a_reason_and_recovers(restricted: Api) -> None:
    restricted.create(resource(template=SIDECAR))
    words = ("violates PodSecurity", 'container "proxy" must set securityContext.allowPrivilegeEscalation=false')
    live = restricted.until_the("RochallorWorker", NAME, has("Degraded", "True", "Forbidden", *words))
    assert has("Ready", "False", "Forbidden")(live)
    restricted.patch("RochallorWorker", NAME, {"spec": {"template": None}})
    make_available(restricted, 1)
    restricted.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))


def test_the_pods_of_the_operators_chart_are_admitted(restricted: Api) -> None:
    """The operator's, and that of `helm test`."""
    found = {one["kind"]: one["spec"] for one in objects() if one["kind"] in {"Deployment", "Pod"}}
    for spec in (found["Deployment"]["template"]["spec"], found["Pod"]):
        restricted.create(pod(spec | {"serviceAccountName": "default"}), dryRun="All")
