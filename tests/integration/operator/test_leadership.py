"""Two operators: one works, the other one stands by."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from integration.operator.conftest import CHART, account_kubeconfig, helm
from integration.operator.process import SYSTEM, Operator
from integration.operator.samples import NAME, resource, until_available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.controlplane import ControlPlane
    from integration.operator.api import Api

LEASE_S = 15
RETRY_S = 2


@pytest.fixture
def candidate(api: Api, cluster: Api, control_plane: ControlPlane) -> Iterator[Callable[[], Operator]]:
    """Makes an operator of a release with two replicas, with that release's rights; it serves the test's namespace."""
    release = f"{api.namespace}-rochallor-operator"
    values = f"watchNamespaces={{{api.namespace}}},crds.install=false,replicas=2"
    helm(control_plane, "install", release, str(CHART), "--set", values)
    kubeconfig = account_kubeconfig(cluster, release)
    yield lambda: Operator(kubeconfig, name=release, namespaces=api.namespace, leader_election="true")
    helm(control_plane, "uninstall", release)


def test_the_second_one_stands_by_ready_and_takes_over(api: Api, candidate: Callable[[], Operator]) -> None:
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
            gone = time.monotonic()
            second.event("leading")
            assert time.monotonic() - gone < LEASE_S / 2, "it was released, not waited for"
            api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})
            api.until_the("Deployment", NAME, lambda live: live["spec"]["replicas"] == 2)
            told = [line for one in (first, second) for line in one.lines if line["level"] not in {"info", "debug"}]
            assert told == []


def test_a_killed_leader_is_followed_when_its_lease_ends(api: Api, candidate: Callable[[], Operator]) -> None:
    with candidate() as first:
        first.event("watching")
        with candidate() as second:
            second.event("standing by")
            first.process.kill()
            killed = time.monotonic()
            second.event("leading")
            assert time.monotonic() - killed <= LEASE_S + 2 * RETRY_S
            api.create(resource())
            api.until_the("Deployment", NAME, lambda _: True)


def test_a_leader_that_stood_still_ends_and_writes_nothing_more(api: Api, candidate: Callable[[], Operator]) -> None:
    with candidate() as first:
        first.event("watching")
        with candidate() as second:
            second.event("standing by")
            first.process.send_signal(signal.SIGSTOP)
            second.event("watching")
            api.create(resource())
            api.until_the("Deployment", NAME, lambda _: True)
            api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})
            first.process.send_signal(signal.SIGCONT)
            assert first.ended() == 1
            assert first.lines[-1]["event"].startswith(f"stopped, because lost the lease '{api.namespace}-")
            assert not [line for line in first.lines if line["event"] in {"created", "updated"}]


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
