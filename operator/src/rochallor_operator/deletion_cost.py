"""Busy pods go last: the deletion cost of pods, for resources that ask for it.

A ReplicaSet with too many pods removes those that aren't ready first, then those of the lowest cost. Here a busy pod
gets one, and an idle pod none. Kubernetes warns of writing it often, so it is written only when a pod has become busy
or idle, and for few pods at a time. It is a hint: a pod may have become busy since it was last asked.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rochallor_operator.backoff import Backoff
from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import DELETION_COST, Key, selector
from rochallor_operator.observe import Trouble
from rochallor_operator.queue import Outcome, WorkQueue
from rochallor_operator.reasons import Reason
from rochallor_operator.reports import is_ready

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from rochallor_operator.kube import Kube
    from rochallor_operator.names import Manifest

log = logging.getLogger(__name__)

BUSY: Final = "1"
"""The cost of a busy pod. Any other one is somebody else's and left alone."""
LOOK_S: Final = 10.0
"""How long after a look at a resource's pods the next one comes."""
ASKED: Final = 50
"""The most pods that one look asks; of more, some are chosen at random."""
ASKED_AT_ONCE: Final = 10
WRITES: Final = 10
"""The most pods that one look writes to."""
NO_RIGHT: Final = (
    "autoscaling.podDeletionCost needs the right to patch pods:"
    " set podDeletionCost in the values of the operator's chart"
)


@dataclass
class _State:
    """What is known of a resource. wanted: False once it no longer asks, until the costs are taken back."""

    wanted: bool
    allowed: bool = False
    trouble: Trouble | None = None


class DeletionCosts:
    """Looks at the pods of the resources that ask for it, again and again.

    `is_busy` asks a pod; None means that it doesn't tell, and its cost stays as it is.
    """

    def __init__(self, kube: Kube, is_busy: Callable[[Manifest], Awaitable[bool | None]]) -> None:
        self._kube = kube
        self._is_busy = is_busy
        self._states: dict[Key, _State] = {}
        self._changed: Callable[[Key], None] = lambda _: None
        self._queue = WorkQueue(
            self._look,
            workers=4,
            while_unsettled=Backoff(first=LOOK_S, cap=LOOK_S, jitter=0),
            after_error=Backoff(first=LOOK_S, cap=60),
        )

    async def run(self, changed: Callable[[Key], None]) -> None:
        """Look until cancelled; `changed` is told of a resource whose trouble comes, changes or goes."""
        self._changed = changed
        await self._queue.run()

    def want(self, key: Key, *, wanted: bool) -> None:
        """Note whether a resource asks for it."""
        state = self._states.get(key)
        if wanted != (state is not None and state.wanted):
            self._states[key] = _State(wanted)
            self._queue.add(key)

    def forget(self, key: Key) -> None:
        """Drop a resource that is gone."""
        self._states.pop(key, None)

    def trouble(self, key: Key) -> Trouble | None:
        """What keeps busy pods of a resource from going last."""
        state = self._states.get(key)
        return None if state is None else state.trouble

    async def _look(self, key: Key) -> Outcome:
        state = self._states.get(key)
        if state is None:
            return Outcome.SETTLED
        trouble, changed = None, False
        try:
            changed = await self._write(key, state)
        except KubernetesError as error:
            state.allowed = False
            if error.status != 403:
                log.warning("deletion costs can't be written", extra={"worker": str(key), "error": str(error)})
                return Outcome.FAILED
            trouble = Trouble(Reason.FORBIDDEN, str(error))
        if self._states.get(key) is not state:
            return Outcome.SETTLED  # gone meanwhile, or added anew
        if not state.wanted and (trouble or not changed):
            self.forget(key)
            return Outcome.SETTLED
        if state.wanted and trouble != state.trouble:
            state.trouble = trouble
            self._changed(key)
        return Outcome.UNSETTLED

    async def _write(self, key: Key, state: _State) -> bool:
        """Write the costs that aren't right; whether there were any."""
        state.allowed = state.allowed or await self._kube.may_patch_pods(key.namespace)
        if not state.allowed:
            raise KubernetesError(403, NO_RIGHT)
        pods = await self._kube.pods(key.namespace, selector(key.name))
        busy = await self._ask(pods) if state.wanted else {_name(pod): False for pod in pods}
        wrong = changes(pods, busy)
        for name, cost in wrong[:WRITES]:
            await self._kube.annotate_pod(key.namespace, name, DELETION_COST, cost)
        return bool(wrong)

    async def _ask(self, pods: Iterable[Manifest]) -> dict[str, bool]:
        """Which pods are busy and which are not; those that don't say it are left out."""
        ready = [pod for pod in pods if is_ready(pod)]
        several = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(pod: Manifest) -> tuple[str, bool | None]:
            async with several:
                return _name(pod), await self._is_busy(pod)

        asked = random.sample(ready, min(len(ready), ASKED))
        answers = await asyncio.gather(*map(ask, asked))
        return {name: busy for name, busy in answers if busy is not None}


def changes(pods: Iterable[Manifest], busy: Mapping[str, bool]) -> list[tuple[str, str | None]]:
    """The pods whose cost isn't right, by name, and what it should be; those that became busy first."""
    found: list[tuple[str, str | None]] = []
    for pod in pods:
        name, cost = _name(pod), pod["metadata"].get("annotations", {}).get(DELETION_COST)
        wanted = BUSY if busy.get(name) else None
        if name in busy and cost in {BUSY, None} and cost != wanted:
            found.append((name, wanted))
    return sorted(found, key=lambda change: change[1] is None)


def _name(pod: Manifest) -> str:
    name: str = pod["metadata"]["name"]
    return name
