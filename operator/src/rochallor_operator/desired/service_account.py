"""The service account of a worker's pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.desired.metadata import metadata
from rochallor_operator.names import Manifest, account_name

if TYPE_CHECKING:
    from rochallor_operator.spec import Worker


def service_account(worker: Worker) -> Manifest:
    """An account without any right: a worker never talks to Kubernetes."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(worker, account_name(worker.name)),
        "automountServiceAccountToken": False,
    }
