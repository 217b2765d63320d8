"""Removes the ConfigMap with the number of ready pods from workers that no longer need it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rochallor_operator.children import is_ours
from rochallor_operator.names import Key, Manifest, scale_name
from rochallor_operator.observe import rollout

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.spec.worker import Worker

log = logging.getLogger(__name__)


class PodCounts:
    """Looks for the ConfigMap once in each worker that doesn't need it: no event has shown it after a restart."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._absent: set[Key] = set()

    def forget(self, key: Key) -> None:
        """Drop what is remembered about a deleted worker."""
        self._absent.discard(key)

    async def prune(self, worker: Worker, deployment: Manifest) -> None:
        """Remove the ConfigMap if no limit needs it, once the rollout is complete: until then, older pods read it."""
        key = Key(worker.namespace, worker.name)
        if worker.spec.counts_pods:
            self._absent.discard(key)
            return
        if key in self._absent or not rollout(deployment).complete:
            return
        name = scale_name(worker.name)
        live = await self._kube.get("ConfigMap", worker.namespace, name)
        if live is not None and is_ours(live, worker.name, worker.uid):
            await self._kube.delete("ConfigMap", worker.namespace, name, live["metadata"]["uid"])
            log.info("removed", extra={"resource": str(key), "child": f"ConfigMap {worker.namespace}/{name}"})
        self._absent.add(key)
