"""Two operators: one works, the other one stands by. (A leader that dies or stands still: tests/faults/operator.py.)"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from integration.operator.conftest import released
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
