"""Copies of the ConfigMaps with handlers: each version is immutable, and stays as long as pods that use it can start.

A pod mounts the copy, whose name holds the hash of the code. So when a pod of an older ReplicaSet restarts, it runs its
older code, and code that is reverted is the same version as before.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rochallor_operator.children import is_ours, log_keys, name_conflict
from rochallor_operator.desired.deployment import content_of
from rochallor_operator.names import (
    CODE_HASH,
    MANAGED_BY_LABEL,
    MANAGER,
    Key,
    Manifest,
    code_name,
    fleet,
    metadata,
    selector,
)
from rochallor_operator.observe import rollout

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.spec.worker import Worker

log = logging.getLogger(__name__)


class Copies:
    """Makes copies, and removes those that no ReplicaSet of the worker can use any more.

    A Deployment keeps as many old ReplicaSets as its revisionHistoryLimit says, and those that still have pods.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._pruned: dict[Key, str | None] = {}
        """The newest code at the last prune."""

    def forget(self, key: Key) -> None:
        """Drop what is remembered about a deleted worker."""
        self._pruned.pop(key, None)

    async def put(self, worker: Worker, source: Manifest, code: str) -> None:
        """Put a copy of a ConfigMap in place under the hash of its content.

        Raises DegradedError when the name is taken, KubernetesError when the API server refuses.
        """
        name = code_name(worker.name, code)
        live = await self._kube.get("ConfigMap", worker.namespace, name)
        wish = _copy(worker, source, name)
        if live is not None and not is_ours(live, worker.name, worker.uid):
            raise name_conflict("ConfigMap", name)
        if live is not None and _same(live, wish):
            return
        if live is not None:
            await self._kube.delete("ConfigMap", worker.namespace, name, live["metadata"]["uid"])
        await self._kube.create(wish)
        log.info("created", extra=log_keys(Key(worker.namespace, worker.name), "ConfigMap", name))

    async def prune(self, worker: Worker, deployment: Manifest, canary: Manifest | None = None) -> None:
        """Remove the copies that no ReplicaSet refers to, once after each change of the code has been rolled out."""
        key = Key(worker.namespace, worker.name)
        code = content_of(deployment).code
        known = self._pruned.get(key)
        if code == known or not rollout(deployment).complete:
            return
        ours = selector(worker.name) | {MANAGED_BY_LABEL: MANAGER}
        copies = await self._kube.metadata("ConfigMap", worker.namespace, ours)
        sets = await self._kube.metadata("ReplicaSet", worker.namespace, fleet(worker.name))
        used = {code, content_of(canary).code, *[item["metadata"].get("labels", {}).get(CODE_HASH) for item in sets]}
        kept = {code_name(worker.name, version) for version in used if version is not None}
        for copy in copies:
            name = copy["metadata"]["name"]
            if (
                name not in kept
                and name.startswith(code_name(worker.name, ""))
                and is_ours(copy, worker.name, worker.uid)
            ):
                await self._kube.delete("ConfigMap", worker.namespace, name, copy["metadata"]["uid"])
                log.info("removed", extra=log_keys(key, "ConfigMap", name))
        self._pruned[key] = code


def _copy(worker: Worker, source: Manifest, name: str) -> Manifest:
    content = {part: source[part] for part in ("data", "binaryData") if source.get(part)}
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(worker, name), "immutable": True}
    return head | content


def _same(live: Manifest, wish: Manifest) -> bool:
    """Whether a live copy has the wished content and owner."""
    (owner,) = wish["metadata"]["ownerReferences"]
    owners = [reference["uid"] for reference in live["metadata"].get("ownerReferences", [])]
    parts = ("data", "binaryData", "immutable")
    return owner["uid"] in owners and all((live.get(part) or None) == (wish.get(part) or None) for part in parts)
