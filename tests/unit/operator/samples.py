"""Resources and live objects for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rochallor_operator.spec.worker import Worker, parse

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

MINIMAL: Manifest = {
    "engine": {"url": "http://engine:8080"},
    "jobTypes": ["charge-card"],
    "handlers": {"module": "shop.handlers:registry"},
}


def resource(spec: Manifest | None = None, **changes: Any) -> Manifest:
    """A RochallorWorker as the API server gives it; changes are spec fields."""
    return {
        "apiVersion": "rochallor.io/v1alpha1",
        "kind": "RochallorWorker",
        "metadata": {"namespace": "shop", "name": "payments", "uid": "uid-1", "generation": 3, "resourceVersion": "7"},
        "spec": (MINIMAL if spec is None else spec) | changes,
    }


def worker(**changes: Any) -> Worker:
    """The same as values."""
    return parse(resource(**changes))


def deployment(wanted: int = 2, *, generation: int = 5, **status: Any) -> Manifest:
    """A live Deployment; status holds what the Deployment controller wrote."""
    return {
        "kind": "Deployment",
        "metadata": {"namespace": "shop", "name": "payments", "uid": "uid-2", "generation": generation},
        "spec": {"replicas": wanted, "template": {"metadata": {}}},
        "status": {"observedGeneration": generation} | status,
    }


def pod(
    name: str = "payments-7d-x", *, created: str = "2026-01-01T00:00:00Z", template: str = "7d", **status: Any
) -> Manifest:
    """A live pod."""
    return {
        "metadata": {"name": name, "creationTimestamp": created, "labels": {"pod-template-hash": template}},
        "status": status,
    }
