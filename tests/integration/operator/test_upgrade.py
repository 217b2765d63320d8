"""An upgrade from the release before, with its real chart and operator, as the CHANGELOG describes it.

Whether pods are replaced shows in their Deployment: its generation is the number of times that it was changed.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import RefusedError, condition, has
from integration.operator.conftest import ACCOUNT, CHART, account_kubeconfig, helm, listed
from integration.operator.process import TESTS, Operator
from integration.operator.samples import (
    KEDA,
    code,
    container,
    hpa,
    resource,
    secret,
    until_available,
    with_config_map,
)
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.controlplane import ControlPlane
    from integration.operator.api import Api, Object

pytestmark = [pytest.mark.usefixtures("known"), pytest.mark.timeout(600)]

PACKAGES = Path(__file__).parents[2] / "releases" / "0.1.0"
[OLD_OPERATOR] = PACKAGES.glob("*.whl")
OLD_CHART = PACKAGES / "rochallor-operator-0.1.0.tgz"
KIND = "RochallorWorker"
IMAGE = "shop:1"
DATABASE = {"name": "db", "key": "dsn"}
BACKLOG: Object = {"query": "SELECT 1", "target": 5}
SCALED = KEDA["autoscaling"] | {"backlog": BACKLOG | {"dsnSecret": DATABASE}}
WORKERS: dict[str, Object] = {
    "plain": {"image": IMAGE},
    "unnamed": {},  # names no image
    "with-secrets": {
        "image": IMAGE,
        "engine": {"url": "http://engine:8080", "tokenSecret": {"name": "token", "key": "token"}},
        "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}}],
        "limits": [{"jobType": "charge-card", "perSecond": 5, "scope": "resource"}],
        "template": {"spec": {"nodeSelector": {"disk": "ssd"}}},
    },
    "kafka": {
        "image": IMAGE,
        "transport": "kafka",
        "kafka": {
            "bootstrapServers": "kafka:9092",
            "securityProtocol": "SASL_SSL",
            "saslMechanism": "SCRAM-SHA-512",
            "credentialsSecret": "kafka",
        },
    },
    "scaled": {"image": IMAGE, "autoscaling": hpa(2, 4), "disruptionBudget": {"maxUnavailable": 1}},
    "backlog": {"image": IMAGE, "autoscaling": SCALED},
}
"""Resources as 0.1.0 has them."""


@pytest.fixture(autouse=True)
def old_chart(cluster: Api, control_plane: ControlPlane) -> Iterator[None]:
    """The chart of 0.1.0, which the test upgrades."""
    upgrade_to(cluster, control_plane, OLD_CHART, has_field=False)
    yield
    upgrade_to(cluster, control_plane, CHART, has_field=True)


def upgrade_to(cluster: Api, control_plane: ControlPlane, chart: Path, *, has_field: bool) -> None:
    """Upgrade, or downgrade, and wait until the API server has the chart's definition."""
    helm(control_plane, "upgrade", ACCOUNT, str(chart), "--reset-values")

    def serves_it() -> bool:
        spec = cluster.raw("openapi/v3/apis/rochallor.io/v1alpha1")["components"]["schemas"]
        [worker] = [schema for name, schema in spec.items() if name.endswith(f".{KIND}")]
        return ("databaseSecret" in worker["properties"]["spec"]["properties"]["engine"]["properties"]) == has_field

    wait_until(serves_it)
    wait_until(partial(listed, cluster, KIND))


def fill(api: Api) -> None:
    """Create the resources and what they use."""
    api.create(secret("token", token="t"))
    api.create(secret("kafka", username="u", password="p"))
    api.create(secret("db", dsn="postgresql://db"))
    api.create(code())
    for name, spec in WORKERS.items():
        api.create(resource(name, minReadySeconds=0, **spec))
    with_code = with_config_map("with-code")
    api.create(with_code | {"spec": with_code["spec"] | {"image": IMAGE, "minReadySeconds": 0}})


def serving(api: Api, image: str, path: Path = TESTS) -> Operator:
    """An operator with the rights of the chart that is installed, whose own release has this worker."""
    return Operator(account_kubeconfig(api, ACCOUNT), path=str(path), worker_image=image, namespaces=api.namespace)


def deployments(api: Api) -> dict[str, Object]:
    return {live["metadata"]["name"]: live for live in api.every("Deployment")}


def generations(api: Api) -> dict[str, int]:
    return {name: live["metadata"]["generation"] for name, live in deployments(api).items()}


def idle(operator: Operator) -> bool:
    """Whether an operator has reconciled every resource and has nothing to do."""
    done = operator.metric("rochallor_operator_reconciles_total")
    return done > len(WORKERS) and not operator.metric("rochallor_operator_queue_depth")


def test_from_0_1(api: Api, cluster: Api, control_plane: ControlPlane) -> None:
    fill(api)
    with serving(api, "worker:0.1.0", OLD_OPERATOR) as operator:
        assert operator.event("started")["version"] == "0.1.0"
        for name in (*WORKERS, "with-code"):
            until_available(api, name)
    before, scaled = generations(api), api.the("ScaledObject", "backlog")["spec"]

    upgrade_to(cluster, control_plane, CHART, has_field=True)
    with serving(api, "worker:0.2.0") as operator:
        # Pods are replaced where the resource names no image, and nowhere else.
        api.until_the("Deployment", "unnamed", lambda live: container(live)["image"] == "worker:0.2.0")
        api.until_the(KIND, "backlog", has("Degraded", "True", "InvalidSpec", "engine.databaseSecret"))
        wait_until(partial(idle, operator))
        assert generations(api) == before | {"unnamed": before["unnamed"] + 1}

        # A renamed field: everything of the resource stays as it is, but it can't be edited before it is written anew.
        assert api.the("ScaledObject", "backlog")["spec"] == scaled
        with pytest.raises(RefusedError, match=r"write engine\.databaseSecret"):
            api.patch(KIND, "backlog", {"spec": {"parallelism": 8}})
        with pytest.raises(RefusedError, match=r"write engine\.databaseSecret"):
            api.patch(KIND, "backlog", {"spec": {"replicas": 2}}, "/scale")
        with pytest.raises(RefusedError, match=r"backlog\.dsnSecret: field not declared"):
            api.apply(resource("backlog", **WORKERS["backlog"]), force="true")
        api.patch(KIND, "backlog", {"spec": {"engine": {"databaseSecret": DATABASE}}})
        api.until_the(KIND, "backlog", lambda live: condition(live, "Degraded")["reason"] != "InvalidSpec")
        wait_until(partial(idle, operator))
        assert api.the("ScaledObject", "backlog")["spec"] == scaled
        assert generations(api)["backlog"] == before["backlog"]
        after = generations(api)

    # And back: the new field is dropped, so the resource needs the old one again.
    upgrade_to(cluster, control_plane, OLD_CHART, has_field=False)
    with serving(api, "worker:0.1.0", OLD_OPERATOR) as operator:
        api.until_the("Deployment", "unnamed", lambda live: container(live)["image"] == "worker:0.1.0")
        wait_until(partial(idle, operator))
        assert generations(api) == after | {"unnamed": after["unnamed"] + 1}
        assert api.the("ScaledObject", "backlog")["spec"] == scaled


def test_a_renamed_value_of_the_chart_is_refused(control_plane: ControlPlane) -> None:
    helm(control_plane, "upgrade", ACCOUNT, str(OLD_CHART), "--set", "podDeletionCost=true")
    with pytest.raises(AssertionError, match="additional properties 'podDeletionCost' not allowed"):
        helm(control_plane, "upgrade", ACCOUNT, str(CHART), "--set", "podDeletionCost=true", "--reset-values")
    helm(control_plane, "upgrade", ACCOUNT, str(CHART), "--set", "patchPods=true", "--reset-values")
