"""Lets running pods see a change of the number of ready pods within seconds, for limits that all pods share.

The number is in a ConfigMap, which the kubelet copies into each pod about once a minute, and also whenever the pod
changes. So an annotation of the pods is changed with it. Nothing depends on that: where it fails, or the operator may
not patch pods, they see the number a minute later.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import READY_PODS, Key, fleet
from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

log = logging.getLogger(__name__)

SETTLE_S: Final = 1.0
"""How long to wait after a change of the ConfigMap: the kubelet watches it and its pods separately, and must have the
new number when the pod changes."""
PAUSE_S: Final = 5.0
"""The shortest time between two rounds for a resource."""
WRITES: Final = 100
"""The most pods that one round writes to: during the rollout of very many, most see the number a minute later."""


class ReadyPods:
    """Annotates the pods of each resource with the number that its ConfigMap holds."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._numbers: dict[Key, str] = {}
        pause = Backoff(first=PAUSE_S, cap=PAUSE_S)
        self._queue = WorkQueue(self._round, workers=4, pause=PAUSE_S, while_unsettled=pause)

    async def run(self) -> None:
        """Annotate until cancelled."""
        await self._queue.run()

    def tell(self, key: Key, number: str | None) -> None:
        """Note the number in the ConfigMap of a resource, None if it has none."""
        if number is None:
            self.forget(key)
        elif self._numbers.get(key) != number:
            self._numbers[key] = number
            self._queue.add(key)

    def forget(self, key: Key) -> None:
        """Drop a deleted resource."""
        self._numbers.pop(key, None)

    async def _round(self, key: Key) -> Result:
        number = self._numbers.get(key)
        if number is None:
            return Result.SETTLED
        await asyncio.sleep(SETTLE_S)
        try:
            complete = await self._annotate(key, number)
        except KubernetesError as error:
            log.warning("can't annotate pods", extra={"resource": str(key), "error": str(error)})
            return Result.SETTLED
        return Result.SETTLED if complete else Result.UNSETTLED

    async def _annotate(self, key: Key, number: str) -> bool:
        """Annotate up to WRITES pods; returns whether no other one needs it."""
        if not await self._kube.may_patch_pods(key.namespace):
            return True
        pods = await self._kube.pods(key.namespace, fleet(key.name))
        behind = [pod["metadata"]["name"] for pod in pods if _is_behind(pod, number)]
        for name in behind[:WRITES]:
            await self._kube.annotate_pod(key.namespace, name, {READY_PODS: number})
        return len(behind) <= WRITES


def _is_behind(pod: Manifest, number: str) -> bool:
    metadata = pod["metadata"]
    runs = "deletionTimestamp" not in metadata and pod.get("status", {}).get("phase") == "Running"
    return runs and metadata.get("annotations", {}).get(READY_PODS) != number
