"""A change that must come back: the only proof that a watch still hears anything.

A watch can fall silent without an error: a connection that nobody closed, a task that ended. From outside that looks
like a quiet cluster. So the operator changes a ConfigMap of its own, and its own watch has to tell it so.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.metrics import WATCH_AGE

if TYPE_CHECKING:
    from rochallor_operator.kube import Kube

log = logging.getLogger(__name__)

SUFFIX: Final = "-canary"
LIMIT_S: Final = 90.0
"""How long a change may take to come back."""


class Canary:
    """Touches the ConfigMap three times in LIMIT_S seconds and waits as long for a change to come back."""

    def __init__(self, kube: Kube, namespace: str, name: str) -> None:
        self._kube = kube
        self._namespace: Final = namespace
        self._name: Final = name + SUFFIX
        self._returned_at = _now()
        self._sent = self._seen = 0  # resource versions
        self._waits_since: float | None = None
        WATCH_AGE.set_function(lambda: _now() - self._returned_at)

    async def run(self) -> None:
        """Touch until cancelled."""
        told = ""
        while True:
            try:
                await self._touch()
                told = ""
            except KubernetesError as error:
                # Without an API server nothing can come back, and a restart would mend nothing.
                self._waits_since = None
                if str(error) != told:
                    log.warning("the watch can't be tested", extra={"error": str(error)})
                    told = str(error)
            await asyncio.sleep(LIMIT_S / 3)

    def saw(self, namespace: str, name: str, version: int) -> None:
        """Note a ConfigMap that the watch has brought, in the version it has."""
        if (namespace, name) != (self._namespace, self._name):
            return
        self._seen = max(self._seen, version)
        if version >= self._sent:
            self._returned_at = _now()
            self._waits_since = None

    def trouble(self) -> str | None:
        """Why the operator should be started anew, or None."""
        if self._waits_since is None or _now() - self._waits_since <= LIMIT_S:
            return None
        return (
            f"the watch is deaf: for {_now() - self._returned_at:.0f} s it has not brought back the operator's changes"
        )

    async def _touch(self) -> None:
        metadata = {"namespace": self._namespace, "name": self._name}
        data = {"touched": datetime.now(UTC).isoformat(timespec="milliseconds")}
        began = _now()
        live = await self._kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
        self._sent = int(live["metadata"]["resourceVersion"])
        # The event may be here before the answer to the request that caused it.
        if self._seen < self._sent and self._waits_since is None:
            self._waits_since = began


def _now() -> float:
    return asyncio.get_running_loop().time()
