"""KEDA or the Prometheus Operator may be installed after the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration.operator.api import has
from integration.operator.conftest import knowing
from integration.operator.process import Operator
from integration.operator.samples import MONITORED, NAME, resource

if TYPE_CHECKING:
    from pathlib import Path

    from integration.operator.api import Api


def test_kinds_that_are_installed_later_are_made_and_watched(cluster: Api, api: Api, kubeconfig: Path) -> None:
    with Operator(kubeconfig) as operator:
        operator.event("watching")
        api.create(resource(**MONITORED))
        api.until_the("RochallorWorker", NAME, has("PodMonitorReady", "False", "PodMonitorNotInstalled"))
        with knowing(cluster):
            api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})  # sooner than by the backoff
            made = api.until_the("PodMonitor", NAME, lambda _: True)
            operator.event("watching", 2)
            # The operator says that it watches before it lists. An object without our labels would not be in that
            # listing, so only the spec is changed; the first change may be seen by a reconcile before the listing.
            for _ in range(2):
                api.patch("PodMonitor", NAME, {"spec": {"podMetricsEndpoints": []}})
                api.until_the("PodMonitor", NAME, lambda live: live["spec"] == made["spec"], timeout=30)
