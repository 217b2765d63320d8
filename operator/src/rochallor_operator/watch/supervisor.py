"""Keeps the watch running on the namespaces that may be served, and restarts it after transient errors."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError, WatchError
from rochallor_operator.names import API_VERSION, KIND
from rochallor_operator.runtime.queue import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.runtime.health import Health

log = logging.getLogger(__name__)

Names = tuple[str, ...]

RETRY_S: Final = 3.0
CHECK_S: Final = 10.0
"""The interval between two checks for namespaces that were added or removed, and for new kinds."""
_BACKOFF: Final = Backoff(first=1, cap=10)
_ATTEMPTS: Final = 5
_LONG_S: Final = 60.0
"""A watch that ran this long is no failed attempt."""


async def keep_watching(
    kube: Kube, namespaces: Names, watch: Callable[[Names], Awaitable[None]], outdated: Callable[[], bool]
) -> None:
    """Run `watch(namespaces to serve)` until cancelled; each run begins with a listing of everything.

    It is restarted when `outdated()` returns True. Named namespaces are served as long as the operator has rights in
    them: one that is missing, or is removed with its rights, does not stop the others. Raises WatchError when the CRD
    no longer exists, or when the watch fails several times in a row.
    """
    attempt = 0
    while True:
        served = await _servable(kube, namespaces)
        if set(served) != set(namespaces):
            missing = sorted(set(namespaces) - set(served))
            log.warning("leaving out namespaces until the operator has rights in them", extra={"namespaces": missing})
        log.info("watching", extra={"namespaces": served if namespaces else "all"})
        began = asyncio.get_running_loop().time()
        try:
            await _first(watch(served), _change(kube, namespaces, served, outdated))
            attempt = 0
        except WatchError as error:
            if not await _crd_exists(kube):
                raise
            if served != await _servable(kube, namespaces):
                continue
            attempt = 0 if asyncio.get_running_loop().time() - began > _LONG_S else attempt + 1
            if attempt == _ATTEMPTS:
                raise
            log.warning("watching failed, trying again", extra={"error": str(error)})
            await asyncio.sleep(_BACKOFF.delay(attempt))


async def wait_for_crd(kube: Kube, state: Health) -> None:
    """Wait until the API server serves the resource; /readyz says what it waits for."""
    while True:
        try:
            if await kube.serves(KIND):
                return
            sentence = f"the API server does not serve {KIND} in {API_VERSION}: install the CRD; waiting for it"
        except KubernetesError as error:
            sentence = str(error)
        if sentence != state.not_ready:
            log.warning(sentence)
            state.not_ready = sentence
        await asyncio.sleep(RETRY_S)


async def _servable(kube: Kube, namespaces: Sequence[str]) -> Names:
    while True:
        try:
            return tuple([namespace for namespace in namespaces if await kube.may_serve(namespace)])
        except KubernetesError as error:
            log.warning("waiting for the API server", extra={"error": str(error)})
        await asyncio.sleep(RETRY_S)


async def _change(kube: Kube, namespaces: Names, served: Names, outdated: Callable[[], bool]) -> None:
    """Return when the namespaces that may be served have changed, or the watch is outdated."""
    while True:
        await asyncio.sleep(CHECK_S)
        if outdated() or await _servable(kube, namespaces) != served:
            return


async def _crd_exists(kube: Kube) -> bool:
    while True:
        try:
            return await kube.serves(KIND)
        except KubernetesError:
            await asyncio.sleep(RETRY_S)


async def _first(*several: Awaitable[None]) -> None:
    """Await the first to end, and cancel the others."""
    tasks = [asyncio.ensure_future(one) for one in several]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
