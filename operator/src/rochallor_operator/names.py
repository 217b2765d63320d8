"""Names, labels and constants that the operator's objects share with the world."""

from __future__ import annotations

from typing import Any, Final

GROUP: Final = "rochallor.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "RochallorWorker"
PLURAL: Final = "rochallorworkers"

MANAGER: Final = "rochallor-operator"
"""Field manager of every server-side apply, and the value of the managed-by label."""

MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
WORKER_LABEL: Final = "rochallor.io/worker"
HANDLERS_HASH: Final = "rochallor.io/handlers-hash"
"""Pod-template annotation with the hash of the handlers' ConfigMap: a change of its content rolls the pods."""

SERVICE_SUFFIX: Final = "-metrics"
METRICS_PORT: Final = 9090

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


def service_name(worker: str) -> str:
    """Name of the headless Service over a worker's pods. The CRD keeps worker names short enough for it."""
    return worker + SERVICE_SUFFIX


def selector(worker: str) -> dict[str, str]:
    """The labels that select a worker's pods. A Deployment's selector can never change, so neither can these."""
    return {WORKER_LABEL: worker}


def labels(worker: str) -> dict[str, str]:
    """The labels of everything the operator makes for a worker."""
    return {
        "app.kubernetes.io/name": "rochallor-worker",
        "app.kubernetes.io/instance": worker,
        MANAGED_BY_LABEL: MANAGER,
        **selector(worker),
    }
