"""Operators with other policies for what a resource may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration.operator.api import has
from integration.operator.conftest import knowing
from integration.operator.process import Operator
from integration.operator.samples import KEDA, MONITORED, NAME, resource, secret, with_label
from integration.operator.test_template_policy import HOST_PATH

if TYPE_CHECKING:
    from pathlib import Path

    from integration.operator.api import Api


def test_restricted_opens_secrets_by_their_label(api: Api, kubeconfig: Path) -> None:
    with Operator(kubeconfig, namespaces=api.namespace, template_policy="restricted"):
        api.create(secret("db", dsn="x"))
        api.create(resource(envFrom=[{"secretRef": {"name": "db"}}]))
        sentence = "Secret 'db' breaks the operator's templatePolicy 'restricted'"
        api.until_the("RochallorWorker", NAME, has("Degraded", "True", "PolicyViolation", sentence))
        assert api.get("Deployment", NAME) is None
        api.patch("Secret", "db", {"metadata": with_label({"metadata": {}})["metadata"]})
        api.until_the("Deployment", NAME, lambda _: True)  # at once: the Secret's metadata is watched


def test_any_applies_everything(api: Api, kubeconfig: Path) -> None:
    with Operator(kubeconfig, namespaces=api.namespace, template_policy="any"):
        api.create(resource(**HOST_PATH))
        assert "hostPath" in str(api.until_the("Deployment", NAME, lambda _: True)["spec"])


def test_kinds_are_left_out_on_request(cluster: Api, api: Api, kubeconfig: Path) -> None:
    off = {"keda": "false", "pod_monitors": "false"}
    with knowing(cluster), Operator(kubeconfig, namespaces=api.namespace, **off):
        api.create(resource(**KEDA, **MONITORED))
        sentence = "the operator is set to make no ScaledObjects"
        api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "False", "Disabled", sentence))
        live = api.the("RochallorWorker", NAME)
        assert has("PodMonitorReady", "False", "Disabled", "the operator is set to make no PodMonitors")(live)
        assert has("Degraded", "False", "Healthy")(live)
        assert api.every("ScaledObject") == api.every("PodMonitor") == api.every("TriggerAuthentication") == []
