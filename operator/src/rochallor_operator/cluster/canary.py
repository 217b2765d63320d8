"""A change that the watch must deliver: the only proof that it still works.

A watch can go silent without an error: a connection that nobody closed, a task that ended. That looks like a cluster
without changes. So the operator changes a ConfigMap of its own, and its own watch must deliver the change.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.runtime.metrics import WATCH_AGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

log = logging.getLogger(__name__)

SUFFIX: Final = "-canary"
LIMIT_S: Final = 90.0
"""How long the watch may take to deliver a change."""


class Canary:
    """Changes the ConfigMap three times in LIMIT_S seconds and waits as long for the watch to deliver a change.

    owners are the owner references of a new ConfigMap.
    """

    def __init__(self, kube: Kube, namespace: str, name: str, owners: Sequence[Manifest] = ()) -> None:
        self._kube = kube
        self._owners: Final = list(owners)
        self._namespace: Final = namespace
        self._name: Final = name + SUFFIX
        self._delivered_at = _now()
        self._sent = self._received = 0  # resource versions
        self._waiting_since: float | None = None
        WATCH_AGE.set_function(lambda: _now() - self._delivered_at)

    async def run(self) -> None:
        """Change the ConfigMap until cancelled."""
        # An apply would need the right to delete an existing one with other owners. Other errors show in the touches.
        with suppress(KubernetesError):
            await self._kube.create(self._config_map(ownerReferences=self._owners))
        logged = ""
        while True:
            try:
                await self._touch()
                logged = ""
            except KubernetesError as error:
                # Without an API server nothing can be delivered, and a restart would not help.
                self._waiting_since = None
                if str(error) != logged:
                    log.warning("can't test the watch", extra={"error": str(error)})
                    logged = str(error)
            await asyncio.sleep(LIMIT_S / 3)

    def received(self, namespace: str, name: str, version: int) -> None:
        """Note a ConfigMap that the watch has delivered, and its version."""
        if (namespace, name) != (self._namespace, self._name):
            return
        self._received = max(self._received, version)
        if version >= self._sent:
            self._delivered_at = _now()
            self._waiting_since = None

    def problem(self) -> str | None:
        """Why the operator should be restarted, or None."""
        if self._waiting_since is None or _now() - self._waiting_since <= LIMIT_S:
            return None
        silence = _now() - self._delivered_at
        return f"the watch is silent: for {silence:.0f} s it has not delivered the operator's own changes"

    async def _touch(self) -> None:
        data = {"touched": datetime.now(UTC).isoformat(timespec="milliseconds")}
        began = _now()
        live = await self._kube.apply(self._config_map() | {"data": data})
        self._sent = int(live["metadata"]["resourceVersion"])
        # The event may arrive before the answer to the request that caused it.
        if self._received < self._sent and self._waiting_since is None:
            self._waiting_since = began

    def _config_map(self, **metadata: list[Manifest]) -> Manifest:
        named = {"namespace": self._namespace, "name": self._name, **metadata}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named}


def _now() -> float:
    return asyncio.get_running_loop().time()
