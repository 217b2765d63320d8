"""A HorizontalPodAutoscaler of the control plane itself, from zero pods to zero pods."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from cluster.controlplane import ControlPlane
from integration.operator.api import Api, has
from integration.operator.conftest import installed
from integration.operator.metrics_api import MetricsApi
from integration.operator.samples import NAME, make_available, play_kubelet, replicas, resource
from integration.operator.test_autoscaling import FROM_ZERO, scaled
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.operator.process import Operator

BACKLOG, BUSY = "rochallor_operator_backlog_jobs", "rochallor_worker_utilization_ratio"
STEP_S = 180.0
"""The controller checks every 15 s; a bound for a busy machine."""


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    """A control plane whose metrics are those of this module alone."""
    with ControlPlane() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> Iterator[Api]:
    with installed(control_plane) as api:
        yield api


def is_ready(api: Api, count: int) -> bool:
    """Let new pods run; whether all are there."""
    play_kubelet(api)
    live = api.the("Deployment", NAME)
    return bool(live.get("status", {}).get("readyReplicas", 0) == count)


def test_pods_come_and_go_with_the_jobs_and_stay_while_their_number_is_unknown(
    api: Api, control_plane: ControlPlane, operator: Operator
) -> None:
    window = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    wish = FROM_ZERO | {"parallelism": 10, "autoscaling": FROM_ZERO["autoscaling"] | {"behavior": window}}
    with MetricsApi(control_plane, api) as metrics:
        metrics.external[BACKLOG], metrics.of_pods[BUSY] = "0", "0"
        api.create(resource(**wish))
        make_available(api, 1)  # a HorizontalPodAutoscaler starts pods only from a zero of its own
        api.until_the("Deployment", NAME, scaled(0), timeout=STEP_S)
        api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "True", "InPlace"))
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "ScaledToZero"))

        metrics.external[BACKLOG], metrics.of_pods[BUSY] = "25", "1"
        api.until_the("Deployment", NAME, scaled(3), timeout=STEP_S)
        wait_until(partial(is_ready, api, 3))

        metrics.external[BACKLOG], metrics.of_pods[BUSY] = None, "0"  # idle, as far as the pods know
        words = f"unable to get external metric {api.namespace}/{BACKLOG}"
        api.until_the(
            "RochallorWorker", NAME, has("AutoscalerReady", "False", "MetricsUnavailable", words), timeout=STEP_S
        )
        assert api.the("Deployment", NAME)["spec"]["replicas"] == 3

        metrics.external[BACKLOG], metrics.of_pods[BUSY] = "0", None  # and pods that nobody scrapes may be busy
        words = f"unable to get metric {BUSY}"
        api.until_the(
            "RochallorWorker", NAME, has("AutoscalerReady", "False", "MetricsUnavailable", words), timeout=STEP_S
        )
        assert api.the("Deployment", NAME)["spec"]["replicas"] == 3

        metrics.of_pods[BUSY] = "0"
        api.until_the("Deployment", NAME, scaled(0), timeout=STEP_S)
        api.until("Deployment", NAME, replicas(0))
    assert not [line for line in operator.lines if line["level"] not in {"info", "debug"}]
