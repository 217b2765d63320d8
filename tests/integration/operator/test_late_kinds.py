"""KEDA or the Prometheus Operator may be installed after the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.operator.api import has
from integration.operator.conftest import knowing
from integration.operator.process import Operator
from integration.operator.samples import MONITORED, NAME, resource

if TYPE_CHECKING:
    from pathlib import Path

    from integration.operator.api import Api


@pytest.mark.timeout(120)
def test_kinds_that_are_installed_later_are_made_and_watched(cluster: Api, api: Api, kubeconfig: Path) -> None:
    with Operator(kubeconfig) as operator:
        operator.event("watching")
        api.create(resource(**MONITORED))
        api.until_the("RochallorWorker", NAME, has("PodMonitorReady", "False", "PodMonitorNotInstalled"))
        with knowing(cluster):
            api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})  # sooner than by the backoff
            made = api.until_the("PodMonitor", NAME, lambda _: True)
            operator.event("watching", 2)
            api.patch("PodMonitor", NAME, {"metadata": {"labels": None}})
            labels = made["metadata"]["labels"]
            api.until_the("PodMonitor", NAME, lambda live: live["metadata"].get("labels") == labels, timeout=5)
