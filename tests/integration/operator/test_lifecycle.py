"""The operator as a process: its start, its steady state, its end and its rights."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.controlplane import ControlPlane
from integration.operator.api import Api, has
from integration.operator.conftest import CHART, account_kubeconfig, helm
from integration.operator.process import SYSTEM, Operator
from integration.operator.samples import NAME, code, hpa, make_available, resource, with_config_map

if TYPE_CHECKING:
    from collections.abc import Iterator

CRD = Path(__file__).parents[3] / "crds" / "rochallorworkers.rochallor.io.yaml"
KINDS = {
    "RochallorWorker": NAME,
    "Deployment": NAME,
    "Service": f"{NAME}-metrics",
    "ServiceAccount": f"{NAME}-worker",
}


@pytest.fixture
def alone(api: Api, kubeconfig: Path) -> Operator:
    """An operator, to be started, that serves only the test's namespace and logs every reconcile."""
    return Operator(kubeconfig, worker_image="worker:test", namespaces=api.namespace, log_level="DEBUG")


def versions(api: Api) -> dict[str, str]:
    """The resource versions of all objects of the worker: any write would change one."""
    return {kind: api.the(kind, name)["metadata"]["resourceVersion"] for kind, name in KINDS.items()}


def test_in_steady_state_it_writes_nothing(api: Api, alone: Operator) -> None:
    api.create(code())
    api.create(code() | {"metadata": {"name": "settings"}})
    wish = with_config_map()
    wish["spec"] |= {"autoscaling": hpa(), "disruptionBudget": {"maxUnavailable": 1}}
    wish["spec"] |= {"envFrom": [{"configMapRef": {"name": "settings"}}]}
    with alone:
        api.create(wish)
        make_available(api, 1)
        # The last change: the autoscaler's controller checks every 15 s and finds no metrics here.
        api.until_the("RochallorWorker", NAME, has("AutoscalerReady", "False", "MetricsUnavailable"))
        api.until_the("RochallorWorker", NAME, has("Progressing", "False", "Available"))
        # Each round is a ConfigMap event and so a reconcile; the first ones still see events of earlier changes.
        for number in range(10):
            if number == 5:
                before, writes = versions(api), alone.writes()
            runs = alone.count("reconciled")
            api.patch("ConfigMap", "settings", {"metadata": {"labels": {"round": str(number)}}})
            alone.event("reconciled", runs + 1)
        assert [line["result"] for line in alone.lines if line["event"] == "reconciled"][-1] == "settled"
        assert alone.writes() == writes > 0
        assert versions(api) == before
        assert api.get("HorizontalPodAutoscaler", NAME)
        assert api.get("PodDisruptionBudget", NAME)


def test_a_restart_changes_nothing(api: Api, alone: Operator) -> None:
    with alone:
        api.create(resource())
        make_available(api, 1)
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
        alone.process.send_signal(signal.SIGTERM)
        assert alone.ended() == 0
        assert alone.event("stopped")
    before = versions(api)
    runs = alone.count("reconciled")
    with alone:
        alone.event("reconciled", runs + 1)
        assert versions(api) == before


def test_changes_while_it_was_stopped_are_reverted(api: Api, alone: Operator) -> None:
    with alone:
        api.create(resource())
        make_available(api, 1)
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    api.delete("Service", f"{NAME}-metrics")
    api.patch("Deployment", NAME, {"spec": {"replicas": 5}})
    api.patch("RochallorWorker", NAME, {"spec": {"drainTimeout": "5s"}})
    with alone:
        api.until_the("Service", f"{NAME}-metrics", lambda _: True)
        live = api.until_the("Deployment", NAME, lambda seen: seen["spec"]["replicas"] == 1)
        assert live["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 15


def test_children_dropped_from_the_spec_while_it_was_stopped_are_removed(api: Api, alone: Operator) -> None:
    kinds = ("HorizontalPodAutoscaler", "PodDisruptionBudget")
    with alone:
        api.create(resource(autoscaling=hpa(2, 5), disruptionBudget={"maxUnavailable": 1}))
        for kind in kinds:
            api.until_the(kind, NAME, lambda _: True)
        api.until_the("RochallorWorker", NAME, lambda live: "autoscaler" in live.get("status", {}))
    api.replace("RochallorWorker", NAME, {"spec": resource()["spec"]})
    with alone:
        for kind in kinds:
            api.until(kind, NAME, lambda live: live is None)
        api.until_the("Deployment", NAME, lambda live: live["spec"]["replicas"] == 1)


def test_one_namespace_with_rights_in_it_alone(api: Api, cluster: Api, control_plane: ControlPlane) -> None:
    release = f"only-{api.namespace}-rochallor-operator"
    helm(
        control_plane,
        "install",
        release,
        str(CHART),
        "--set",
        f"watchNamespaces={{{api.namespace}}},crds.install=false",
    )
    other = resource("elsewhere")
    cluster.create(other)
    try:
        with Operator(account_kubeconfig(cluster, release), name=release, namespaces=api.namespace) as narrow:
            api.create(resource())
            make_available(api, 1)
            api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
            assert not [line for line in narrow.lines if line["level"] not in {"info", "debug"}]
        assert "status" not in cluster.the("RochallorWorker", "elsewhere")
    finally:
        cluster.delete("RochallorWorker", "elsewhere")
        helm(control_plane, "uninstall", release)


@pytest.fixture
def bare() -> Iterator[ControlPlane]:
    """A control plane of the test's own, without the CRD."""
    with ControlPlane() as running:
        yield running


def test_it_waits_for_the_crd_and_for_the_api_server(bare: ControlPlane) -> None:
    with Api(bare.kubeconfig) as api, Operator(bare.kubeconfig) as operator:
        sentence = "the API server does not serve RochallorWorker in rochallor.io/v1alpha1: install the CRD"
        operator.event(sentence)
        assert operator.http("/livez").status_code == 200
        assert operator.http("/readyz").status_code == 503
        assert operator.http("/readyz").text.startswith(sentence)

        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})  # of the key of its hashes
        api.create(yaml.safe_load(CRD.read_text()))
        operator.event("watching")
        assert operator.http("/readyz").status_code == 200
        api.create(resource())
        api.until_the("Deployment", NAME, lambda _: True)

        bare.stop_apiserver()
        bare.start_apiserver()
        api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})
        api.until_the("Deployment", NAME, lambda live: live["spec"]["replicas"] == 2)

        api.delete("CustomResourceDefinition", "rochallorworkers.rochallor.io")
        assert operator.ended() == 1
        assert operator.lines[-1]["event"].startswith("stopped: watching failed: ")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"KUBECONFIG": "/nowhere/kubeconfig"}, "can't find out how to reach a cluster: "),
        ({"ROCHALLOR_OPERATOR_HTTP_PORT": "http"}, "ROCHALLOR_OPERATOR_HTTP_PORT='http' is not valid: must be "),
    ],
)
def test_a_start_error_is_one_sentence(variables: dict[str, str], sentence: str) -> None:
    command = [sys.executable, "-m", "rochallor_operator"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"].startswith(sentence)


def test_arguments_are_refused() -> None:
    command = [sys.executable, "-m", "rochallor_operator", "--replicas", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "rochallor-operator: error: unrecognized arguments: --replicas 2"
