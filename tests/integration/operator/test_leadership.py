"""Two operators: one is active, the other stands by. (A leader that dies or freezes: tests/faults/operator.py.)"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from integration.operator.conftest import CHART, helm, released
from integration.operator.process import SYSTEM
from integration.operator.samples import NAME, resource, until_available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.controlplane import ControlPlane
    from integration.operator.api import Api
    from integration.operator.process import Operator

LEASE_S = 15


@pytest.fixture
def candidate(api: Api, cluster: Api, control_plane: ControlPlane) -> Iterator[Callable[[], Operator]]:
    """Makes an operator of the test's release."""
    with released(control_plane, cluster, api.namespace) as make:
        yield make


def test_the_second_one_stands_by_ready_and_takes_over(
    api: Api, cluster: Api, candidate: Callable[[], Operator]
) -> None:
    with candidate() as first:
        first.event("watching")
        with candidate() as second:
            second.event("standing by")
            assert [one.metric("rochallor_operator_leader") for one in (first, second)] == [1, 0]
            assert second.http("/readyz").status_code == second.http("/livez").status_code == 200
            api.create(resource())
            until_available(api)
            assert second.writes() == 0

            first.process.send_signal(signal.SIGTERM)
            assert first.ended() == 0
            with type(cluster)(cluster.kubeconfig, SYSTEM) as system:
                holder = system.the("Lease", f"{api.namespace}-rochallor-operator")["spec"].get("holderIdentity")
            assert holder != first.event("leading")["identity"], "it was released, and does not have to expire"
            second.event("leading")
            api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})
            api.until_the("Deployment", NAME, lambda live: live["spec"]["replicas"] == 2)
            logged = [line for one in (first, second) for line in one.lines if line["level"] not in {"info", "debug"}]
            assert logged == []


def test_nothing_stays_when_the_chart_is_uninstalled(api: Api, cluster: Api, control_plane: ControlPlane) -> None:
    name = f"{api.namespace}-rochallor-operator"
    with type(cluster)(cluster.kubeconfig, SYSTEM) as system:
        with released(control_plane, cluster, api.namespace) as make, make() as operator:
            operator.event("watching")
            for kind, child in (("Lease", name), ("ConfigMap", f"{name}-canary")):
                (owner,) = system.until_the(kind, child, lambda _: True)["metadata"]["ownerReferences"]
                assert (owner["kind"], owner["name"]) == ("ServiceAccount", name)
            # As helm does it, while the pod ends: rights and account go first.
            helm(control_plane, "uninstall", name)
            operator.process.send_signal(signal.SIGTERM)
            operator.ended()
            helm(
                control_plane, "install", name, str(CHART), "--set", "crds.install=false"
            )  # for the teardown of the fixture
        for kind, child in (("Lease", name), ("ConfigMap", f"{name}-canary")):
            system.until(kind, child, lambda live: live is None, timeout=150)


def test_the_lease_is_readable_for_people(api: Api, cluster: Api, candidate: Callable[[], Operator]) -> None:
    with candidate() as first:
        identity = first.event("leading")["identity"]
        with type(cluster)(cluster.kubeconfig, SYSTEM) as system:
            spec = system.the("Lease", f"{api.namespace}-rochallor-operator")["spec"]
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (
            identity,
            LEASE_S,
            0,
        )
