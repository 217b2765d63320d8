"""What a canary rollout means for the conditions (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rochallor_operator.rollout.state import ON_TRIAL, STOPPED, Phase
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from rochallor_operator.observe import Observation

OF_TRIAL: Final = frozenset({Reason.CANARY, Reason.CANARY_WAITING})
_AT_REST: Final = frozenset({Reason.AVAILABLE, Reason.SCALED_TO_ZERO})


@dataclass(frozen=True)
class State:
    """The status, reason and message of a condition."""

    status: bool | None
    """None: unknown."""
    reason: str
    message: str


def on_trial(seen: Observation, progressing: State) -> State:
    """Progressing with a canary rollout; while the stable pods are not at rest, they matter more."""
    state, worker = seen.state, seen.worker
    if state is None or worker is None or progressing.reason not in _AT_REST:
        return progressing
    version, steps = f"version {state.revision}", len(worker.spec.rollout.chosen_steps)
    if state.phase == Phase.PROMOTING:
        return State(True, Reason.CANARY, f"{version} has passed: the stable pods get it")
    if state.phase in ON_TRIAL:
        sentence = f"{version} is on trial with {state.share or 'no pod yet'}, step {state.step + 1} of {steps}"
        if state.phase == Phase.WAITING:
            return State(True, Reason.CANARY_WAITING, f"{sentence}; it waits: {state.message}")
        return State(True, Reason.CANARY, f"{sentence}; {state.message}" if state.message else sentence)
    failed = stopped(seen)
    return progressing if failed is None else replace(failed, status=False)


def stopped(seen: Observation) -> State | None:
    """Why a canary rollout has been stopped."""
    state = seen.state
    if state is None or state.phase not in STOPPED:
        return None
    now = "the canary is left for you to look at" if state.phase == Phase.PAUSED else "only the stable pods run"
    return State(True, Reason.CANARY_FAILED, f"version {state.revision}: {state.message}; {now}")
