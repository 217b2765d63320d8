"""Without the right to list Secrets: those in use are read by name, and a change is noticed by the next resync."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import has
from integration.operator.conftest import CHART, account_kubeconfig, helm
from integration.operator.process import Operator
from integration.operator.samples import NAME, make_available, pod_annotations, resource, secret
from integration.operator.test_secrets import HASH

if TYPE_CHECKING:
    from cluster.controlplane import ControlPlane
    from integration.operator.api import Api

pytestmark = pytest.mark.timeout(400)


def test_a_change_is_noticed_without_a_watch(
    api: Api, cluster: Api, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT_TIMES", json.dumps({"watch.resync.PERIOD_S": 4}))
    release = f"{api.namespace}-rochallor-operator"
    values = f"watchNamespaces={{{api.namespace}}},crds.install=false,watchSecrets=false"
    helm(control_plane, "install", release, str(CHART), "--set", values)
    try:
        with Operator(
            account_kubeconfig(cluster, release),
            module="integration.operator.short_times",
            name=release,
            namespaces=api.namespace,
            watch_secrets="false",
        ) as operator:
            operator.event("watching")
            api.create(resource(envFrom=[{"secretRef": {"name": "source"}}]))
            api.until_the("RochallorWorker", NAME, has("Degraded", "True", "SecretNotFound"))
            api.create(secret("source", k="1"))
            make_available(api, 1)
            before = pod_annotations(api.the("Deployment", NAME))[HASH]
            api.patch("Secret", "source", {"stringData": {"k": "2"}})
            api.until_the("Deployment", NAME, lambda live: pod_annotations(live)[HASH] != before)
            assert operator.http("/livez").status_code == 200
            assert "orbidden" not in str(operator.lines)
    finally:
        helm(control_plane, "uninstall", release)
