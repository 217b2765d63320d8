"""An operator as the chart installs it, with the chart's rights, and a namespace of its own for each test."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import yaml

from cluster import programs
from integration.operator.api import Api, Object, RefusedError
from integration.operator.process import SYSTEM, Operator
from rochallor_operator.names import APIS, FOREIGN
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.controlplane import ControlPlane

CHART = Path(__file__).parents[3] / "charts" / "rochallor-operator"
ACCOUNT = "rochallor-operator"


def helm(control_plane: ControlPlane, *arguments: str) -> None:
    """Run helm; its errors fail the test."""
    command = [programs.tool("helm"), *arguments, "--namespace", SYSTEM, "--kubeconfig", str(control_plane.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def installed(control_plane: ControlPlane) -> Iterator[Api]:
    """The cluster with the chart installed. Its operator pod never runs, because there is no node."""
    helm(control_plane, "install", ACCOUNT, str(CHART), "--create-namespace")
    with Api(control_plane.kubeconfig) as api:
        api.until_the("CustomResourceDefinition", "rochallorworkers.rochallor.io", established)
        wait_until(partial(listed, api, "RochallorWorker"))
        yield api


@pytest.fixture(scope="session")
def cluster(control_plane: ControlPlane) -> Iterator[Api]:
    """The cluster of all tests, with the chart installed."""
    with installed(control_plane) as api:
        yield api


@contextmanager
def knowing(cluster: Api) -> Iterator[None]:
    """While inside, the cluster serves the kinds of KEDA and of the Prometheus Operator."""
    names = [cluster.create(definition(kind))["metadata"]["name"] for kind in FOREIGN]
    for name in names:
        cluster.until_the("CustomResourceDefinition", name, established)
    for kind in FOREIGN:
        wait_until(partial(listed, cluster, kind))
    yield
    for name in names:
        cluster.delete("CustomResourceDefinition", name)
        cluster.until("CustomResourceDefinition", name, lambda live: live is None)


@pytest.fixture(scope="module")
def known(cluster: Api) -> Iterator[None]:
    """The cluster serves them during all tests of a module."""
    with knowing(cluster):
        yield


def definition(kind: str) -> Object:
    """A CRD of our own that accepts everything."""
    group, version, plural = APIS[kind]
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


@pytest.fixture(scope="session")
def promtool() -> str:
    """The command, which was installed before the first test."""
    return "promtool"


def established(crd: Object) -> bool:
    """Whether a CRD is served."""
    conditions = crd.get("status", {}).get("conditions") or []  # null at first
    return any((item["type"], item["status"]) == ("Established", "True") for item in conditions)


def listed(cluster: Api, kind: str) -> bool:
    """Whether the kind's store is there: for a second after its definition the API server answers 429, and an
    operator's first listing would be that much later than its others."""
    with suppress(RefusedError):
        cluster.every(kind)
        return True
    return False


def account_kubeconfig(cluster: Api, account: str) -> Path:
    """A kubeconfig with the rights of a release's service account and nothing more."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    with Api(cluster.kubeconfig, SYSTEM) as system:
        config["users"][0]["user"] = {"token": system.token(account)}
    path = cluster.kubeconfig.with_name(f"{account}.kubeconfig")
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def released(
    control_plane: ControlPlane, cluster: Api, namespace: str, prefix: str = ""
) -> Iterator[Callable[..., Operator]]:
    """A release with two replicas that serves one namespace: makes operators as it would start them."""
    release = f"{prefix}{namespace}-{ACCOUNT}"
    values = f"watchNamespaces={{{namespace}}},crds.install=false,replicas=2"
    helm(control_plane, "install", release, str(CHART), "--set", values)
    try:
        kubeconfig = account_kubeconfig(cluster, release)
        yield partial(Operator, kubeconfig, name=release, namespaces=namespace, leader_election="true")
    finally:
        helm(control_plane, "uninstall", release)


@pytest.fixture(scope="module")
def kubeconfig(cluster: Api) -> Path:
    """The operator's kubeconfig; a new one for each module, because one of them reinstalls the chart."""
    return account_kubeconfig(cluster, ACCOUNT)


@pytest.fixture
def grant(cluster: Api, control_plane: ControlPlane) -> Iterator[Callable[[], None]]:
    """Gives the operator the right to patch pods, as its chart does, until the test ends."""
    _ = cluster  # the chart is installed
    yield lambda: helm(control_plane, "upgrade", ACCOUNT, str(CHART), "--set", "patchPods=true")
    helm(control_plane, "upgrade", ACCOUNT, str(CHART), "--reset-values")  # without it helm keeps those of before


@pytest.fixture(scope="module")
def operator(kubeconfig: Path) -> Iterator[Operator]:
    """The operator that serves the tests of a module; tests that start one themselves don't use it."""
    with Operator(kubeconfig, worker_image="worker:test") as running:
        running.event("watching")
        yield running


@pytest.fixture
def api(cluster: Api) -> Iterator[Api]:
    """The cluster in a fresh namespace, as an administrator."""
    name = f"test-{uuid4().hex[:8]}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    with Api(cluster.kubeconfig, name) as api:
        yield api
    cluster.delete("Namespace", name)
