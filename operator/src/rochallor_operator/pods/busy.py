"""Marks busy pods by annotations, for resources that ask for it, and removes the marks from idle ones.

Kubernetes advises against frequent updates of pods, so a mark is written only when a pod has become busy or idle, and
for few pods at a time. It is a hint: a pod may have become busy since it was last asked.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import Key, fleet
from rochallor_operator.observe import Problem
from rochallor_operator.pods.probe import is_ready
from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

log = logging.getLogger(__name__)

CHECK_S: Final = 10.0
"""The interval between two checks of a resource's pods."""
ASKED: Final = 50
"""The most pods that one check asks, chosen at random."""
ASKED_AT_ONCE: Final = 10
WRITES: Final = 10
"""The most pods that one check writes to."""

Change = tuple[str, dict[str, str | None]]
"""A pod's name, and the annotations to set or, with None, to remove."""


@dataclass
class _State:
    """What is known about a resource. limit: None once it no longer asks, until the marks are removed."""

    limit: float | None
    allowed: bool = False
    problem: Problem | None = None


class BusyPods(ABC):
    """Checks the pods of the resources that ask for one kind of mark, regularly.

    `is_busy` asks a pod; None means that there is no answer.
    """

    field: str
    """The field of the spec that asks for it."""

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

    def want(self, key: Key, limit: float | None) -> None:
        """Note for how many seconds at most a resource wants a busy pod marked: None for not at all."""
        state = self._states.get(key)
        if limit != (None if state is None else state.limit):
            self._states[key] = _State(limit)
            self._queue.add(key)

    def forget(self, key: Key) -> None:
        """Drop a deleted resource."""
        self._states.pop(key, None)

    def problem(self, key: Key) -> Problem | None:
        """Why a resource's busy pods are not marked."""
        state = self._states.get(key)
        return None if state is None else state.problem

    @property
    def no_right(self) -> str:
        """What to do where the operator may not write to pods."""
        return f"{self.field} needs the right to patch pods: set patchPods in the values of the operator's chart"

    @abstractmethod
    def changes(self, pods: Iterable[Manifest], busy: Mapping[str, bool], limit: float) -> list[Change]:
        """The pods whose mark is wrong, those that need one first; busy has the pods that have answered, by name.

        limit: for how many seconds a pod may stay marked.
        """

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
                keys = {"resource": str(key), "field": self.field, "error": str(error)}
                log.warning("can't mark busy pods", extra=keys)
                return Result.FAILED
            problem = Problem(Reason.FORBIDDEN, str(error))
        if self._states.get(key) is not state:
            return Result.SETTLED  # deleted meanwhile, or added again
        if state.limit is None and (problem or not changed):
            self.forget(key)
            return Result.SETTLED
        if state.limit is not None and problem != state.problem:
            state.problem = problem
            self._on_change(key)
        return Result.UNSETTLED

    async def _write(self, key: Key, state: _State) -> bool:
        """Write the marks that are wrong; returns whether there were any."""
        state.allowed = state.allowed or await self._kube.may_patch_pods(key.namespace)
        if not state.allowed:
            raise KubernetesError(403, self.no_right)
        pods = await self._kube.pods(key.namespace, fleet(key.name))
        wanted = state.limit is not None
        busy = await self._ask(pods) if wanted else {name_of(pod): False for pod in pods}
        wrong = self.changes(pods, busy, state.limit or 0)
        for name, marks in wrong[:WRITES]:
            await self._kube.annotate_pod(key.namespace, name, marks)
        return bool(wrong)

    async def _ask(self, pods: Iterable[Manifest]) -> dict[str, bool]:
        """Which pods are busy and which are not, without those that don't answer."""
        ready = [pod for pod in pods if is_ready(pod)]
        several = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(pod: Manifest) -> tuple[str, bool | None]:
            async with several:
                return name_of(pod), await self._is_busy(pod)

        asked = random.sample(ready, min(len(ready), ASKED))
        answers = await asyncio.gather(*map(ask, asked))
        return {name: busy for name, busy in answers if busy is not None}


def name_of(pod: Manifest) -> str:
    """The name of a pod."""
    name: str = pod["metadata"]["name"]
    return name
