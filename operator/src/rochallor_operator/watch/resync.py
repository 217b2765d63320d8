"""Reconciles every resource regularly, so that a change is found even if the watches have missed it.

In steady state this costs a few reads and no writes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Key
    from rochallor_operator.reconcile import Reconciler
    from rochallor_operator.runtime.queue import WorkQueue

log = logging.getLogger(__name__)

PERIOD_S: Final = 600.0
"""The longest time between two reconciles of a resource, if the API server answers and the operator keeps up."""
MAX_DEPTH: Final = 100
"""While more resources than this wait, none is added: an edit would have to wait for it."""
_RETRY_S: Final = 30.0
_WAIT_S: Final = 1.0


async def resync(kube: Kube, reconciler: Reconciler, queue: WorkQueue[Key]) -> None:
    """Queue each existing or known resource once per period, spread over the period. Never returns."""
    await asyncio.sleep(0.1 * PERIOD_S)  # the watches begin by listing everything
    while True:
        try:
            there = await _listed(kube, reconciler.served)
        except KubernetesError as error:
            log.warning("can't list resources", extra={"error": str(error)})
            await asyncio.sleep(_RETRY_S)
            continue
        keys = sorted({*there, *reconciler.known()})  # a fixed order keeps each one's interval short
        pause = 0.8 * PERIOD_S / max(len(keys), 1)
        for key in keys:
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 (spreading load, not a secret)
            while queue.depth > MAX_DEPTH:  # noqa: ASYNC110 (a queue has no event for that)
                await asyncio.sleep(_WAIT_S)
            queue.add(key)
        if not keys:
            await asyncio.sleep(pause)


async def _listed(kube: Kube, served: Iterable[str] | None) -> list[Key]:
    namespaces = [""] if served is None else sorted(served)
    return [key for namespace in namespaces for key in await kube.keys(namespace)]
