"""Writes the status of connections, in the background and only when something has changed."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import API_VERSION, Key, ObjectRef
from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue
from rochallor_operator.status.connection import connection_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.runtime.metrics import Condition

log = logging.getLogger(__name__)

SETTLE_S: Final = 2.0
"""How long to wait after a change: a rollout or a restart changes many workers at about the same time."""
PAUSE_S: Final = 10.0
"""The shortest time between two writes of a connection's status."""
START_S: Final = 120.0
"""How long after its start the operator may not know all workers yet, so that none counts as gone."""


class ConnectionStatuses:
    """`users` gives the workers of a connection, `conditions` what is known of a worker."""

    def __init__(
        self,
        kube: Kube,
        users: Callable[[ObjectRef], list[Key]],
        conditions: Callable[[Key], Iterable[Condition]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._kube = kube
        self._users = users
        self._conditions = conditions
        self._clock = clock
        self._began: Final = clock()
        again = Backoff(first=PAUSE_S, cap=PAUSE_S)
        self._queue = WorkQueue(self._write, workers=16, pause=PAUSE_S, while_unsettled=again)  # most of them wait

    async def run(self) -> None:
        """Write until cancelled."""
        await self._queue.run()

    def add(self, ref: ObjectRef) -> None:
        """Note that something about a connection, or about a worker that names it, may have changed."""
        self._queue.add(ref)

    async def _write(self, ref: ObjectRef) -> Result:
        await asyncio.sleep(SETTLE_S)
        try:
            return await self.write(ref)
        except KubernetesError as error:
            keys = {"connection": str(ref), "namespace": ref.namespace, "error": str(error)}
            log.warning("can't write the status of a connection", extra=keys)
            return Result.FAILED

    async def write(self, ref: ObjectRef) -> Result:
        """Write the status of a connection, if it has changed."""
        live = await self._kube.get(*ref)
        if live is None or "deletionTimestamp" in live["metadata"]:
            return Result.SETTLED
        before = live.get("status", {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        after = connection_status(live, {key: self._conditions(key) for key in self._users(ref)}, now)
        if after["workers"] < before.get("workers", 0) and self._clock() - self._began < START_S:
            return Result.UNSETTLED
        if after != before:
            named = {part: live["metadata"][part] for part in ("name", "namespace", "uid") if part in live["metadata"]}
            await self._kube.apply_status(
                {"apiVersion": API_VERSION, "kind": ref.kind, "metadata": named, "status": after}
            )
        return Result.SETTLED
