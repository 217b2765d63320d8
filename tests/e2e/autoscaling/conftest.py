"""Workers under load, with real autoscalers that query a real Prometheus."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from cluster import images, keda, monitoring
from e2e.autoscaling.engine import Load, define
from e2e.autoscaling.replicas import Replicas, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.kubectl import Kubectl

HANDLERS = Path(__file__).with_name("handlers.py")
EXAMPLES = [images.ROOT / "examples" / f"autoscaling-{provider}" for provider in ("hpa", "keda")]
EXPORTER = Path(__file__).with_name("exporter.py")
PARALLELISM = 4
MOST = 4
"""The maximum number of pods of a worker."""
# Minutes in production, seconds here.
QUICK = {"scaleDown": {"stabilizationWindowSeconds": 10}}


class Wave(NamedTuple):
    """A worker with an autoscaler, its load, and the replicas that it is given."""

    name: str
    load: Load
    replicas: Replicas


@pytest.fixture(scope="session")
def autoscalers(cluster: Kubectl) -> None:
    """Prometheus, prometheus-adapter and KEDA."""
    monitoring.install(cluster)
    keda.install(cluster)


@pytest.fixture
def kubectl(kubectl: Kubectl) -> Kubectl:
    """kubectl in a namespace that admits any pod: the databases and exporters of these tests are not restricted."""
    kubectl("label", "namespace", kubectl.namespace, "pod-security.kubernetes.io/enforce-")
    return kubectl


def config_map(name: str, file: Path) -> dict[str, Any]:
    """Return a ConfigMap with one Python file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {file.name: file.read_text()},
    }


def exporter() -> dict[str, Any]:
    """Return a pod that exports metrics of the dev engine to Prometheus."""
    container = {
        "name": "exporter",
        "image": monitoring.IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", f"/code/{EXPORTER.name}"],
        "ports": [{"name": "metrics", "containerPort": 9090}],
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
    }
    spec = {"containers": [container], "volumes": [{"name": "code", "configMap": {"name": "exporter"}}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "exporter"}, "spec": spec}


@pytest.fixture
def engine(kubectl: Kubectl, autoscalers: None, dev_engine: None) -> Iterator[str]:
    """The URL of a dev engine in the test's namespace, with its metrics in Prometheus."""
    items = {"apiVersion": "v1", "kind": "List", "items": [config_map("exporter", EXPORTER), exporter()]}
    kubectl("apply", "--filename=-", stdin=json.dumps(items))
    with kubectl.port_forward("service/dev-engine", 8080) as url:
        yield url


@pytest.fixture
def apply_worker(kubectl: Kubectl) -> Callable[..., None]:
    """Apply a worker of the job type that has its name; keywords are fields of its spec."""

    def apply(name: str, **spec: Any) -> None:
        worker = {
            "apiVersion": "rochallor.io/v1alpha1",
            "kind": "RochallorWorker",
            "metadata": {"name": name},
            "spec": {
                "engine": {"url": "http://dev-engine:8080"},
                "jobTypes": [name],
                "parallelism": PARALLELISM,
                "handlers": {"configMap": {"name": "handlers", "module": "handlers:registry"}},
                **spec,
            },
        }
        items = {"apiVersion": "v1", "kind": "List", "items": [config_map("handlers", HANDLERS), worker]}
        kubectl("apply", "--filename=-", stdin=json.dumps(items))

    return apply


@pytest.fixture
def waves(kubectl: Kubectl, engine: str) -> Iterator[list[Wave]]:
    """The example of each autoscaler, ready, without load yet; its handler records its runs."""
    for example in EXAMPLES:
        handlers, worker = yaml.safe_load_all((example / "worker.yaml").read_text())
        handlers["data"][HANDLERS.name] = HANDLERS.read_text()
        assert worker["spec"]["autoscaling"]["maxReplicas"] == MOST
        items = {"apiVersion": "v1", "kind": "List", "items": [handlers, worker]}
        kubectl("apply", "--filename=-", stdin=json.dumps(items))
    with ExitStack() as stack:
        found = []
        for example in EXAMPLES:
            workflow = json.loads((example / "workflow.json").read_text())
            name = workflow["id"]  # and the worker's
            kubectl("wait", f"rw/{name}", "--for=condition=Ready", "--timeout=180s")
            kubectl("wait", f"rw/{name}", "--for=condition=AutoscalerReady", "--timeout=180s")
            define(engine, workflow)
            load = stack.enter_context(Load(engine, name))
            found.append(Wave(name, load, stack.enter_context(watch(kubectl, name))))
        yield found
