"""Reads the counters of both fleets' pods while a version is on trial: the differences since the step began.

A pod's counters begin at 0 when it starts. So a pod that appears during a step counts with all that it has; one that
was there before counts from its first answer on, and what was counted before is in the status. A counter that has
fallen belongs to a new process.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import CANARY_LABEL, REVISION_LABEL, Key, selector
from rochallor_operator.pods.probe import is_ready, runs
from rochallor_operator.pods.problems import problem
from rochallor_operator.pods.samples import Sample, sample
from rochallor_operator.rollout.gate import Seen
from rochallor_operator.rollout.state import NOTHING, ON_TRIAL, Counts, State
from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue
from rochallor_operator.spec.sections import seconds
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.sections import Gate

log = logging.getLogger(__name__)

READ_S: Final = 3.0
"""The interval between two readings: short, because a broken version takes jobs until one has shown it."""
FRESH_S: Final = 30.0
"""How old a reading may be that is judged."""
ASKED: Final = 50
"""The most pods of each fleet that are asked: always the first by name, because differences need the same pods."""
ASKED_AT_ONCE: Final = 10


@dataclass
class Fleet:
    """The pods of one Deployment: what was last read of each, and what they have counted since the step began."""

    counts: Counts
    known: bool
    """Whether its pods have been read before, or had none to count: a pod that is new counts with all that it has."""
    last: dict[str, Counts] = field(default_factory=dict)
    older: frozenset[str] = frozenset()
    """Pods that were there before the step, whether or not they have answered."""
    there: frozenset[str] = frozenset()
    """All pods at the last reading."""

    def add(self, read: dict[str, Counts], there: Iterable[str] = ()) -> None:
        """Count what has happened since the last reading; there: all pods, of which some are read."""
        self.there = frozenset(there)
        if not self.known:
            self.older = self.there
        for pod, now in read.items():
            before = self.last.get(pod, now if pod in self.older or not self.known else NOTHING)
            fell = any(one < other for one, other in zip(now, before, strict=True))
            self.counts = self.counts.plus(now if fell else Counts(*(a - b for a, b in zip(now, before, strict=True))))
        self.last |= read
        self.known = True

    def in_next_step(self) -> Fleet:
        """The same pods, of which nothing has been counted."""
        return Fleet(NOTHING, self.known, self.last, self.older | self.there)


@dataclass
class _Watched:
    """A step of a trial."""

    revision: str
    step: int
    slower_than: float | None
    canary: Fleet
    stable: Fleet
    seen: Seen | None = None
    read_at: float = 0.0
    breakers: frozenset[str] = frozenset()
    """The types whose breaker was open in the canary alone at the last reading."""


class Counters:
    """Asks the pods of the resources with a version on trial, every few seconds. `read` returns a pod's metrics."""

    def __init__(
        self,
        kube: Kube,
        read: Callable[[Manifest], Awaitable[bytes | None]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._kube = kube
        self._read = read
        self._clock = clock
        self._watched: dict[Key, _Watched] = {}
        self._on_change: Callable[[Key], None] = lambda _: None
        pause = Backoff(first=READ_S, cap=READ_S, jitter=0)
        self._queue = WorkQueue(self._check, workers=4, while_unsettled=pause, after_error=pause)

    async def run(self, on_change: Callable[[Key], None]) -> None:
        """Read until cancelled; on_change is called after each reading."""
        self._on_change = on_change
        await self._queue.run()

    def want(self, key: Key, state: State | None, gate: Gate) -> None:
        """Note the state of a resource's rollout; its pods are read while a version is on trial."""
        if state is None or state.phase not in ON_TRIAL:
            self.forget(key)
            return
        slower_than = None if gate.max_handler_p95 is None else seconds(gate.max_handler_p95)
        before = self._watched.get(key)
        if before is None or (before.revision, before.slower_than) != (state.revision, slower_than):
            new = state.step == 0 and state.canary == NOTHING
            canary, stable = Fleet(state.canary, known=new), Fleet(state.others, known=False)
        elif before.step != state.step:
            canary, stable = before.canary.in_next_step(), before.stable.in_next_step()
        else:
            return
        self._watched[key] = _Watched(state.revision, state.step, slower_than, canary, stable)
        self._queue.add(key)

    def forget(self, key: Key) -> None:
        """Drop a resource that has no version on trial."""
        self._watched.pop(key, None)

    def seen(self, key: Key, state: State | None) -> Seen | None:
        """What has been read in this step; None before, and when that was too long ago."""
        watched = self._watched.get(key)
        if watched is None or state is None or (watched.revision, watched.step) != (state.revision, state.step):
            return None
        return watched.seen if self._clock() < watched.read_at + FRESH_S else None

    async def _check(self, key: Key) -> Result:
        watched = self._watched.get(key)
        if watched is None:
            return Result.SETTLED
        try:
            labels = {CANARY_LABEL: key.name, REVISION_LABEL: watched.revision}
            canary = [pod for pod in await self._kube.pods(key.namespace, labels) if _stays(pod)]
            stable = await self._kube.pods(key.namespace, selector(key.name))
        except KubernetesError as error:
            log.warning("can't list pods", extra={"resource": str(key), "error": str(error)})
            return Result.FAILED
        watched.seen = await self._look(watched, canary, stable)
        watched.read_at = self._clock()
        if self._watched.get(key) is watched:
            self._on_change(key)
        return Result.UNSETTLED

    async def _look(self, watched: _Watched, canary: list[Manifest], stable: list[Manifest]) -> Seen:
        there = [_name(pod) for pod in canary], [_name(pod) for pod in stable]
        canary, stable = canary[:ASKED], stable[:ASKED]
        theirs, others = await asyncio.gather(self._samples(canary, watched), self._samples(stable, watched))
        watched.canary.add({pod: _counts(one) for pod, one in theirs.items()}, there[0])
        watched.stable.add({pod: _counts(one) for pod, one in others.items()}, there[1])
        alone = _open(theirs) - _open(others) if others else frozenset()
        again, watched.breakers = alone & watched.breakers, alone
        wrong = problem(canary, datetime.now(UTC))
        return Seen(
            watched.canary.counts,
            watched.stable.counts,
            silent=_silent(canary, theirs, stable, others),
            crash=wrong.message if wrong is not None and wrong.reason == Reason.CRASH_LOOP else None,
            problem=wrong,
            breaker=min(again, default=None),
            partitions=_partitions(theirs, others),
        )

    async def _samples(self, pods: list[Manifest], watched: _Watched) -> dict[str, Sample]:
        several = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(pod: Manifest) -> Sample | None:
            async with several:
                body = await self._read(pod)
            return None if body is None else sample(body, watched.slower_than)

        asked = [pod for pod in pods if runs(pod)]
        answers = await asyncio.gather(*map(ask, asked))
        return {_name(pod): one for pod, one in zip(asked, answers, strict=True) if one is not None}


def _stays(pod: Manifest) -> bool:
    """Whether a pod is neither removed nor evicted by its node: such pods exit without having failed."""
    return "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") != "Failed"


def _counts(one: Sample) -> Counts:
    return Counts(one.jobs, one.failures, one.slow)


def _open(samples: dict[str, Sample]) -> frozenset[str]:
    return frozenset(job_type for one in samples.values() for job_type in one.breakers)


def _silent(
    canary: list[Manifest], theirs: dict[str, Sample], stable: list[Manifest], others: dict[str, Sample]
) -> str | None:
    """Which pods should have answered: every ready one of the canary, and one of the stable pods."""
    mute = next((_name(pod) for pod in canary if is_ready(pod) and _name(pod) not in theirs), None)
    if mute is not None:
        return f"pod {mute} does not answer on its metrics port"
    return None if others or not stable else "no stable pod answers on its metrics port"


def _partitions(theirs: dict[str, Sample], others: dict[str, Sample]) -> tuple[int, int] | None:
    ours, all_of_them = (sum(one.partitions for one in samples.values()) for samples in (theirs, theirs | others))
    return (ours, all_of_them) if all_of_them else None


def _name(pod: Manifest) -> str:
    name: str = pod["metadata"]["name"]
    return name
