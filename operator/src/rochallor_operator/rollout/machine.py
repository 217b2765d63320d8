"""The next state of a rollout, from the last one and what is known now (pure).

The operator acts on the state that the status has, and then writes the next one there. So whatever it does has been
recorded before, and an operator that is killed anywhere goes on from the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from rochallor_operator.rollout.gate import failure, missing
from rochallor_operator.rollout.state import ON_TRIAL, Phase, State
from rochallor_operator.spec.sections import seconds

if TYPE_CHECKING:
    from datetime import datetime

    from rochallor_operator.observe import Rollout
    from rochallor_operator.rollout.gate import Seen
    from rochallor_operator.spec.sections import RolloutPlan


@dataclass(frozen=True)
class Facts:
    """What is known when a reconcile has put the objects in place."""

    revision: str | None
    """The version that the spec asks for; None while that isn't known, or may not be tried yet."""
    now: datetime
    stable: Rollout | None = None
    """The progress of the stable Deployment; None when it isn't as it should be."""
    canary: Rollout | None = None
    """That of the canary; None when there is none of this version."""
    seen: Seen | None = None
    """None until pods have been asked in this step."""
    suspended: bool = False
    promote: str | None = None
    abort: str | None = None
    """The versions that a person promotes or aborts."""
    share: str = ""
    refused: str | None = None
    """Why the canary can't be put in place."""


def following(state: State | None, facts: Facts, plan: RolloutPlan) -> State | None:
    """The next state. Without a last one, the stable pods have just got what the spec asks for: nothing is compared."""
    wanted = facts.revision
    if wanted is None:
        return state
    if state is None:
        return State(Phase.STABLE, wanted, wanted)
    if wanted == state.stable:
        promoted = facts.stable is not None and facts.stable.complete
        return state if state.phase == Phase.PROMOTING and not promoted else State(Phase.STABLE, wanted, wanted)
    return _begin(state.stable, wanted) if wanted != state.revision else _go_on(state, facts, plan)


def _go_on(state: State, facts: Facts, plan: RolloutPlan) -> State:
    if facts.abort == state.revision:
        return _stop(state, Phase.FAILED, "aborted by the annotation")
    if facts.promote == state.revision:
        return _promote(state)
    if facts.suspended and state.phase != Phase.FAILED:
        return _begin(state.stable, state.revision)
    return _judge(state, facts, plan) if state.phase in ON_TRIAL else state


def _begin(stable: str, revision: str) -> State:
    return State(Phase.PROGRESSING, stable, revision)


def _promote(state: State) -> State:
    return replace(state, phase=Phase.PROMOTING, stable=state.revision, since=None, available=False, message="")


def _stop(state: State, phase: Phase, why: str) -> State:
    return state if state.phase == phase else replace(state, phase=phase, since=None, available=False, message=why)


def _judge(state: State, facts: Facts, plan: RolloutPlan) -> State:
    seen = facts.seen
    state = replace(state, share=facts.share, since=state.since or facts.now)
    if seen is not None:
        state = replace(state, canary=seen.canary, others=seen.stable)
    if not state.available and facts.canary is not None and facts.canary.complete and facts.canary.wanted > 0:
        state = replace(state, since=facts.now, available=True)
    why = (failure(plan.gate, seen) if seen is not None else None) or _not_started(state, facts)
    if why is not None:
        return _stop(state, Phase.PAUSED if plan.on_failure == "Pause" else Phase.FAILED, why)
    step = min(state.step, len(plan.chosen_steps) - 1)
    unknown = _held(state, facts)
    if unknown is None and not (state.available and _passed(state, facts, seconds(plan.chosen_steps[step].pause))):
        starting = seen.problem if seen is not None and not state.available else None
        return replace(state, phase=Phase.PROGRESSING, message=starting.message if starting is not None else "")
    unknown = unknown or (missing(plan.gate, seen) if seen is not None else "no pod has been asked yet")
    if unknown is not None:
        return replace(state, phase=Phase.WAITING, message=unknown)
    if step + 1 < len(plan.chosen_steps):
        return replace(_begin(state.stable, state.revision), step=step + 1)
    return _promote(state)


def _passed(state: State, facts: Facts, length: float) -> bool:
    """Whether so many seconds have passed since the time in the state."""
    return state.since is not None and facts.now >= state.since + timedelta(seconds=length)


def _late(state: State, facts: Facts) -> bool:
    """Whether the canary has had as long to start as a rollout may take."""
    canary = facts.canary
    return not state.available and canary is not None and canary.wanted > 0 and _passed(state, facts, canary.deadline)


def _not_started(state: State, facts: Facts) -> str | None:
    """Why the canary has not started within its deadline. While no stable pod is available either, that proves nothing
    about the new version."""
    if facts.canary is None or facts.stable is None or facts.stable.available == 0 or not _late(state, facts):
        return None
    if facts.seen is not None and facts.seen.problem is not None:
        return facts.seen.problem.message
    late = f"{facts.canary.available} of {facts.canary.wanted} pods available after {facts.canary.deadline:g} s"
    return facts.canary.creation_failure or late


def _held(state: State, facts: Facts) -> str | None:
    """Why a trial can't go on, whatever its pods count."""
    if facts.refused is not None:
        return facts.refused
    if facts.stable is None or facts.stable.wanted == 0:
        return "there are no stable pods to compare with"
    return "neither the canary's pods nor the stable ones are available" if _late(state, facts) else None
