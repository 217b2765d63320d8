"""Named namespaces, with the chart's rights in them alone: a new, deleted or missing one does not stop the others."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from integration.operator.api import Api
from integration.operator.conftest import CHART, account_kubeconfig, helm
from integration.operator.process import Operator
from integration.operator.samples import NAME, resource, until_available

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.controlplane import ControlPlane

pytestmark = pytest.mark.timeout(600)


def namespace(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


@pytest.fixture
def three(cluster: Api) -> Iterator[list[Api]]:
    """Three namespaces."""
    several = [Api(cluster.kubeconfig, f"test-{uuid4().hex[:8]}") for _ in range(3)]
    for each in several:
        cluster.create(namespace(each.namespace))
    yield several
    for each in several:
        if cluster.get("Namespace", each.namespace) is not None:
            cluster.delete("Namespace", each.namespace)
        each.__exit__()


def test_several_namespaces_one_without_rights_and_one_that_is_deleted(
    cluster: Api, three: list[Api], control_plane: ControlPlane
) -> None:
    first, second, late = three
    release = f"{first.namespace}-rochallor-operator"

    def rights(verb: str, *names: str) -> None:
        chosen = f"watchNamespaces={{{','.join(names)}}},crds.install=false"
        helm(control_plane, verb, release, str(CHART), "--set", chosen)

    rights("install", first.namespace, second.namespace)
    everything = ",".join(each.namespace for each in three)
    try:
        with Operator(account_kubeconfig(cluster, release), name=release, namespaces=everything) as operator:
            operator.event("leaving out namespaces until the operator has rights in them")
            for each in (first, second):
                each.create(resource())
                until_available(each)

            rights("upgrade", *everything.split(","))
            late.create(resource())
            operator.event("watching", 2)
            until_available(late)

            logged = {line["event"] for line in operator.lines if line["level"] not in {"info", "debug"}}
            assert logged == {"leaving out namespaces until the operator has rights in them"}
            assert "orbidden" not in str(operator.lines)

            cluster.delete("Namespace", second.namespace)
            cluster.until("Namespace", second.namespace, lambda live: live is None, timeout=240)
            operator.event("watching", 3)
            first.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})
            first.until_the("Deployment", NAME, lambda live: live["spec"]["replicas"] == 2)

            cluster.create(namespace(second.namespace))
            rights("upgrade", *everything.split(","))
            operator.event("watching", 4)
            second.create(resource())
            until_available(second)
            assert operator.process.poll() is None
    finally:
        helm(control_plane, "uninstall", release)
