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
    from collections.abc import Callable, Iterable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Key
    from rochallor_operator.reconcile import Reconciler

log = logging.getLogger(__name__)

PERIOD_S: Final = 600.0
"""The longest time between two reconciles of a resource, as long as the API server answers."""
_RETRY_S: Final = 30.0


async def resync(kube: Kube, reconciler: Reconciler, add: Callable[[Key], None]) -> None:
    """Call `add` for each existing or known resource once per period, spread over the period. Never returns."""
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
            add(key)
        if not keys:
            await asyncio.sleep(pause)


async def _listed(kube: Kube, served: Iterable[str] | None) -> list[Key]:
    namespaces = [""] if served is None else sorted(served)
    return [key for namespace in namespaces for key in await kube.keys(namespace)]
