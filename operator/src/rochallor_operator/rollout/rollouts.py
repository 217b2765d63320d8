"""Judges the canary rollouts of all resources: the next state of each, from what its reconcile has found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Final

from rochallor_operator.names import ABORT, PROMOTE
from rochallor_operator.observe import rollout
from rochallor_operator.rollout.counters import Counters
from rochallor_operator.rollout.machine import Facts, following

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Key, Manifest
    from rochallor_operator.rollout.canaries import Trial
    from rochallor_operator.rollout.state import State
    from rochallor_operator.spec.worker import Worker

WRITE_S: Final = 10.0
"""The shortest time between two writes of counts alone."""


class Rollouts:
    """The counters of the pods on trial, and when their counts were last written."""

    def __init__(
        self,
        kube: Kube,
        read: Callable[[Manifest], Awaitable[bytes | None]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.counters: Final = Counters(kube, read, clock)
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._clock = clock
        self._written_at: dict[Key, float] = {}

    def forget(self, key: Key) -> None:
        """Drop a resource that is deleted or has another strategy."""
        self.counters.forget(key)
        self._written_at.pop(key, None)

    def next(self, key: Key, resource: Manifest, worker: Worker, trial: Trial) -> State | None:
        """The state to record."""
        plan, before = worker.spec.rollout, trial.state
        seen = self.counters.seen(key, before)
        annotations = resource["metadata"].get("annotations", {})
        facts = Facts(
            trial.revision,
            self.now().replace(microsecond=0),  # as in the status
            stable=None if trial.stable is None else rollout(trial.stable),
            canary=None if trial.canary is None else rollout(trial.canary),
            seen=seen,
            suspended=worker.spec.suspend,
            promote=annotations.get(PROMOTE),
            abort=annotations.get(ABORT),
            share=trial.share,
            refused=None if trial.refused is None else str(trial.refused),
        )
        if seen is not None and seen.partitions is not None:
            facts = replace(facts, share=f"{seen.partitions[0]} of {seen.partitions[1]} partitions")
        after = following(before, facts, plan)
        self.counters.want(key, None if worker.spec.suspend else after, plan.gate)
        return self._seldom(key, before, after)

    def _seldom(self, key: Key, before: State | None, after: State | None) -> State | None:
        """The next state; the last one while only counts differ, and they were written a moment ago."""
        if before == after:
            return after
        now = self._clock()
        counts_alone = before is not None and after is not None and _essence(before) == _essence(after)
        if counts_alone and now < self._written_at.get(key, now - WRITE_S) + WRITE_S:
            return before
        self._written_at[key] = now
        return after


def _essence(state: State) -> tuple[object, ...]:
    """Everything but the counts, and the message, which repeats them."""
    return state.phase, state.stable, state.revision, state.step, state.since, state.available, state.share
