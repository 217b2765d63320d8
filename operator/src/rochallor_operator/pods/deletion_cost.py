"""The deletion cost of pods, for resources that ask for it: idle pods are removed before busy ones.

A ReplicaSet with too many pods removes unready pods first, then those of the lowest cost. A busy pod gets a cost, an
idle pod none. Kubernetes advises against frequent updates, so the cost is written only when a pod has become busy or
idle, and for few pods at a time. It is a hint: a pod may have become busy since it was last asked.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import DELETION_COST, Key, selector
from rochallor_operator.observe import Problem
from rochallor_operator.pods.probe import is_ready
from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

log = logging.getLogger(__name__)

BUSY: Final = "1"
"""The cost of a busy pod. Any other value is somebody else's and left alone."""
CHECK_S: Final = 10.0
"""The interval between two checks of a resource's pods."""
ASKED: Final = 50
"""The most pods that one check asks, chosen at random."""
ASKED_AT_ONCE: Final = 10
WRITES: Final = 10
"""The most pods that one check writes to."""
NO_RIGHT: Final = (
    "autoscaling.podDeletionCost needs the right to patch pods:"
    " set podDeletionCost in the values of the operator's chart"
)


@dataclass
class _State:
    """What is known about a resource. wanted: False once it no longer asks, until the costs are removed."""

    wanted: bool
    allowed: bool = False
    problem: Problem | None = None


class DeletionCosts:
    """Checks the pods of the resources that ask for it, regularly.

    `is_busy` asks a pod; None means that there is no answer, and its cost stays as it is.
    """

    def __init__(self, kube: Kube, is_busy: Callable[[Manifest], Awaitable[bool | None]]) -> None:
        self._kube = kube
        self._is_busy = is_busy
        self._states: dict[Key, _State] = {}
        self._on_change: Callable[[Key], None] = lambda _: None
        self._queue = WorkQueue(
            self._check,
            workers=4,
            while_unsettled=Backoff(first=CHECK_S, cap=CHECK_S, jitter=0),
            after_error=Backoff(first=CHECK_S, cap=60),
        )

    async def run(self, on_change: Callable[[Key], None]) -> None:
        """Check until cancelled; on_change is called for a resource whose problem has changed."""
        self._on_change = on_change
        await self._queue.run()

    def want(self, key: Key, *, wanted: bool) -> None:
        """Note whether a resource asks for deletion costs."""
        state = self._states.get(key)
        if wanted != (state is not None and state.wanted):
            self._states[key] = _State(wanted)
            self._queue.add(key)

    def forget(self, key: Key) -> None:
        """Drop a deleted resource."""
        self._states.pop(key, None)

    def problem(self, key: Key) -> Problem | None:
        """Why a resource's pods get no deletion cost."""
        state = self._states.get(key)
        return None if state is None else state.problem

    async def _check(self, key: Key) -> Result:
        state = self._states.get(key)
        if state is None:
            return Result.SETTLED
        problem, changed = None, False
        try:
            changed = await self._write(key, state)
        except KubernetesError as error:
            state.allowed = False
            if error.status != 403:
                log.warning("can't write deletion costs", extra={"resource": str(key), "error": str(error)})
                return Result.FAILED
            problem = Problem(Reason.FORBIDDEN, str(error))
        if self._states.get(key) is not state:
            return Result.SETTLED  # deleted meanwhile, or added again
        if not state.wanted and (problem or not changed):
            self.forget(key)
            return Result.SETTLED
        if state.wanted and problem != state.problem:
            state.problem = problem
            self._on_change(key)
        return Result.UNSETTLED

    async def _write(self, key: Key, state: _State) -> bool:
        """Write the costs that are wrong; returns whether there were any."""
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
        """Which pods are busy and which are not, without those that don't answer."""
        ready = [pod for pod in pods if is_ready(pod)]
        several = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(pod: Manifest) -> tuple[str, bool | None]:
            async with several:
                return _name(pod), await self._is_busy(pod)

        asked = random.sample(ready, min(len(ready), ASKED))
        answers = await asyncio.gather(*map(ask, asked))
        return {name: busy for name, busy in answers if busy is not None}


def changes(pods: Iterable[Manifest], busy: Mapping[str, bool]) -> list[tuple[str, str | None]]:
    """The pods whose cost is wrong, by name, and what it should be; those that became busy first."""
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
