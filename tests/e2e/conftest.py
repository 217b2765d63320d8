"""The product on a real cluster: images from this checkout, the chart installed, a namespace for each test module."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster import product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.kubectl import Kubectl


@pytest.fixture(scope="session")
def cluster() -> Iterator[Kubectl]:
    """The cluster with the operator installed."""
    with product.on_a_cluster() as kubectl:
        yield kubectl


@pytest.fixture
def kubectl(cluster: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own, which admits only restricted pods."""
    name = f"e2e-{secrets.token_hex(4)}"
    product.make_restricted(cluster, name)
    yield cluster.within(name)
    cluster("delete", "namespace", name, "--wait=false")


@pytest.fixture
def apply_hello(kubectl: Kubectl) -> Callable[..., None]:
    """Apply examples/hello/worker.yaml; `handlers` replaces its Python code, other keywords fields of its spec."""

    def apply(handlers: str | None = None, **spec: Any) -> None:
        config_map, worker = yaml.safe_load_all((product.HELLO / "worker.yaml").read_text())
        if handlers is not None:
            config_map["data"]["handlers.py"] = handlers
        worker["spec"] |= spec
        kubectl(
            "apply",
            "--filename=-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [config_map, worker]}),
        )

    return apply


@pytest.fixture
def dev_engine(kubectl: Kubectl) -> None:
    """The dev engine of the hello example, in the test's namespace."""
    kubectl("apply", f"--filename={product.HELLO / 'engine.yaml'}")
    kubectl("rollout", "status", "deployment/dev-engine", "--timeout=180s")


@pytest.fixture
def hello(kubectl: Kubectl, dev_engine: None, apply_hello: Callable[..., None]) -> Kubectl:
    """A namespace where the hello example runs and is ready."""
    apply_hello()
    kubectl("wait", "rw/hello", "--for=condition=Ready", "--timeout=180s")
    return kubectl
