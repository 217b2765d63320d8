"""Removes objects that pods read and that a worker no longer needs."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from rochallor_operator.children import is_ours, log_keys
from rochallor_operator.names import Key, Manifest, copy_name, scale_name
from rochallor_operator.observe import rollout
from rochallor_operator.spec.loans import SECTIONS

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.desired.objects import Desired

log = logging.getLogger(__name__)


class Leftovers:
    """Looks once in each worker for the ConfigMap with the number of its ready pods and for copied Secrets that it
    doesn't need: no event has shown them after a restart. `copy_secrets`: whether it may remove Secrets."""

    def __init__(self, kube: Kube, *, copy_secrets: bool) -> None:
        self._kube = kube
        self._copy_secrets = copy_secrets
        self._absent: defaultdict[Key, set[tuple[str, str]]] = defaultdict(set)

    def forget(self, key: Key) -> None:
        """Drop what is remembered about a deleted worker."""
        self._absent.pop(key, None)

    async def prune(self, wish: Desired, deployment: Manifest) -> None:
        """Remove what isn't wished for, once the rollout is complete: until then, older pods read it."""
        worker = wish.worker
        key = Key(worker.namespace, worker.name)
        possible = {("ConfigMap", scale_name(worker.name))}
        if self._copy_secrets:
            possible |= {("Secret", copy_name(worker.name, section)) for section in SECTIONS}
        wished = [*wish.copies, *([] if wish.scale is None else [wish.scale])]
        needed = {(one["kind"], one["metadata"]["name"]) for one in wished}
        self._absent[key] -= needed
        if not rollout(deployment).complete:
            return
        for kind, name in sorted(possible - needed - self._absent[key]):
            live = await self._kube.get(kind, worker.namespace, name)
            if live is not None and is_ours(live, worker.name, worker.uid):
                await self._kube.delete(kind, worker.namespace, name, live["metadata"]["uid"])
                log.info("removed", extra=log_keys(key, kind, name))
            self._absent[key].add((kind, name))
