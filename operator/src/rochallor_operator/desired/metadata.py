"""Metadata of everything the operator makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.names import API_VERSION, KIND, Manifest, labels

if TYPE_CHECKING:
    from rochallor_operator.spec import Worker


def metadata(worker: Worker, name: str) -> Manifest:
    """Name, labels and the controller owner reference by which Kubernetes removes the object with its worker."""
    return {
        "name": name,
        "namespace": worker.namespace,
        "labels": labels(worker.name),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": worker.name,
                "uid": worker.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
