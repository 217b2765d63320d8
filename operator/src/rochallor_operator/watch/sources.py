"""Watches Secrets, ConfigMaps and Namespaces by their metadata alone, so that those that no worker uses cost no memory.

Only an object's name is taken from an event; the reconcile of a user then reads the object. After a gap in the watch
(410 Gone) all users have to be reconciled anyway, so objects are never listed: only the version to start from is read.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError, SilenceError, WatchError
from rochallor_operator.runtime.queue import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from rochallor_operator.cluster.kube import Kube

log = logging.getLogger(__name__)

WATCH_S: Final = 120.0
"""The longest duration of one watch request; the API server ends it."""
SILENCE_S: Final = 900.0
"""How long a watch may deliver nothing. API servers send bookmarks about once a minute; only an idle server that has
just started waits up to ten minutes for etcd's first progress report."""
_BACKOFF: Final = Backoff(first=0.5, cap=30)
_LONG_S: Final = 10.0
"""A watch that lasted this long resets the backoff."""
_REFUSALS: Final = {400, 401, 403, 404, 405, 406}
"""HTTP statuses that a retry doesn't fix."""


class SourceWatch:
    """The watch of one kind in one namespace, or in all namespaces when it is "".

    on_change: called with kind, namespace, name and resource version of each object that was added, changed or deleted.
    on_restart: called with kind and namespace when the watch starts, at first or after a gap: earlier changes are not
    delivered.
    """

    def __init__(
        self,
        kube: Kube,
        kind: str,
        namespace: str,
        on_change: Callable[[str, str, str, int], None],
        on_restart: Callable[[str, str], None],
    ) -> None:
        self.kind: Final = kind
        self._kube = kube
        self._namespace: Final = namespace
        self._on_change = on_change
        self._on_restart = on_restart
        self._version = ""
        self._last_event_at = _now()

    async def run(self) -> None:
        """Watch until cancelled. Raises WatchError when the API server refuses it permanently."""
        attempt = 0
        while True:
            began, wait = _now(), 0.0
            try:
                await self._follow()
            except KubernetesError as error:
                if error.status in _REFUSALS:
                    raise WatchError(f"watching failed: {error}") from error
                self._handle(error)
                wait = error.retry_after
            attempt = 0 if _now() - began > _LONG_S else attempt + 1
            await asyncio.sleep(max(wait, _BACKOFF.delay(attempt)))

    def silence(self) -> float:
        """Seconds since the last event or bookmark, without times when the API server refused or was unreachable."""
        return _now() - self._last_event_at

    async def _follow(self) -> None:
        """Make one watch request, which continues where the last one ended unless there was a gap."""
        if not self._version:
            self._version = await self._kube.version(self.kind, self._namespace)
            self._on_restart(self.kind, self._namespace)
        seconds = WATCH_S * random.uniform(0.75, 1)  # noqa: S311 (spreading load, not a secret)
        async for event in self._kube.changes(self.kind, self._namespace, self._version, seconds):
            live = event["object"]
            if event["type"] == "ERROR":
                raise KubernetesError(live.get("code"), live.get("message", "the watch ended with an error"))
            metadata = live["metadata"]
            self._version = metadata["resourceVersion"]
            self._last_event_at = _now()
            if event["type"] != "BOOKMARK":
                namespace = metadata.get("namespace", "")
                self._on_change(self.kind, namespace, metadata["name"], int(self._version))

    def _handle(self, error: KubernetesError) -> None:
        level = logging.DEBUG if error.status == 410 else logging.WARNING
        log.log(level, "watch interrupted, trying again", extra={"kind": self.kind, "error": str(error)})
        if error.status == 410 or isinstance(error, SilenceError):
            self._version = ""
        if not isinstance(error, SilenceError):
            self._last_event_at = _now()  # no event was possible, and a restart would not help


def _now() -> float:
    return asyncio.get_running_loop().time()
