"""A cluster whose HorizontalPodAutoscalers can't have zero pods, as all before Kubernetes 1.37."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cluster.controlplane import ControlPlane
from integration.operator.api import Api, has
from integration.operator.conftest import installed
from integration.operator.samples import NAME, make_available, resource
from integration.operator.test_autoscaling import FROM_ZERO

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.operator.process import Operator


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane("--feature-gates=HPAScaleToZero=false") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane) -> Iterator[Api]:
    with installed(control_plane) as api:
        yield api


def test_zero_is_refused_and_the_condition_says_what_to_write(api: Api, operator: Operator) -> None:
    api.create(resource(**FROM_ZERO))
    make_available(api, 1)
    sentence = "this cluster's HorizontalPodAutoscalers have no minReplicas 0: write 1 or more, or provider keda"
    live = api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "False", "NotSupported", sentence))
    assert has("Ready", "True", "Available")(live)
    assert has("Degraded", "False", "Healthy")(live)
    api.patch("RochallorWorker", NAME, {"spec": {"autoscaling": {"minReplicas": 1}}})
    api.until_the("HorizontalPodAutoscaler", NAME, lambda _: True)
    assert not [line for line in operator.lines if line["level"] not in {"info", "debug"}]
