"""Applying a worker's objects: only our own ones, and only when that changes something."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

from rochallor_operator.errors import DegradedError
from rochallor_operator.names import MANAGED_BY_LABEL, MANAGER, WORKER_LABEL, Manifest
from rochallor_operator.reasons import Reason

if TYPE_CHECKING:
    from rochallor_operator.kube import Kube
    from rochallor_operator.spec import Worker

log = logging.getLogger(__name__)


def digest(value: Any) -> str:
    """Short hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def is_ours(live: Manifest, worker: str, uid: str) -> bool:
    """Whether a live object is the worker's: controlled by it, or left behind by the operator without an owner."""
    metadata = live["metadata"]
    for reference in metadata.get("ownerReferences", []):
        if reference.get("controller"):
            return bool(reference["uid"] == uid)
    labels = metadata.get("labels", {})
    return bool(labels.get(MANAGED_BY_LABEL) == MANAGER and labels.get(WORKER_LABEL) == worker)


class Children:
    """Applies objects and remembers what they looked like afterwards.

    As long as neither the wish nor the live object has changed since, nothing is sent: a steady state writes nothing.
    The memory is only a saving; after a restart each object is applied once, which changes nothing in the cluster.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._applied: dict[tuple[str, str, str], tuple[str, str]] = {}

    def forget(self, namespace: str, kind: str, name: str) -> None:
        """Drop what is remembered of an object that is no longer wanted."""
        self._applied.pop((namespace, kind, name), None)

    async def put(self, worker: Worker, desired: Manifest, live: Manifest | None) -> Manifest:
        """Bring one object into place and return it as it is then.

        Raises DegradedError when it belongs to someone else, KubernetesError when the API server refuses it.
        """
        kind, name = desired["kind"], desired["metadata"]["name"]
        if live is not None and not is_ours(live, worker.name, worker.uid):
            raise DegradedError(
                Reason.NAME_CONFLICT,
                f"{kind} {name!r} exists and is not part of this resource: delete it or rename the resource",
            )
        if live is not None and "deletionTimestamp" in live["metadata"]:
            return live  # made anew when it is gone
        memory = (worker.namespace, kind, name)
        wish = digest(desired)
        before = None if live is None else _state(live)
        if live is not None and self._applied.get(memory) == (wish, before):
            return live
        applied = await self._kube.apply(desired)
        after = _state(applied)
        if after != before:
            log.info("created" if before is None else "updated", extra={"child": f"{kind} {worker.namespace}/{name}"})
        self._applied[memory] = (wish, after)
        return applied


def _state(live: Manifest) -> str:
    """Hash of everything in an object that an apply could put right."""
    metadata = live["metadata"]
    return digest([metadata["uid"], metadata.get("labels"), metadata.get("ownerReferences"), live["spec"]])
