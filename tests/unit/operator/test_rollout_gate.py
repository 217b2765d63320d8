"""When a version has failed, when it may go on, and what the phases of a rollout follow from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.desired.canary import pods_for, share_of
from rochallor_operator.observe import Problem, Rollout, rollout
from rochallor_operator.rollout.gate import Seen, failure, fraction, missing
from rochallor_operator.rollout.machine import Facts, following
from rochallor_operator.rollout.state import Counts, Phase, State, recorded
from rochallor_operator.spec.sections import Gate, RolloutPlan, Step
from unit.operator.samples import deployment

GATE = Gate.model_validate({"minJobs": 50})
PLAN = RolloutPlan(strategy="Canary", steps=(Step(share="10%", pause="5m"), Step(share="50%", pause="1m")), gate=GATE)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FINE = Seen(Counts(50, 0), Counts(400, 4))


def counts(least: int = 0) -> st.SearchStrategy[Counts]:
    pairs = st.tuples(st.integers(least, 400), st.integers(0, 400), st.integers(0, 400))
    return pairs.map(lambda jobs: Counts(jobs[0], min(jobs[0], jobs[1]), min(jobs[0], jobs[2])))


@pytest.mark.parametrize(
    ("canary", "stable", "fails"),
    [
        (Counts(50, 3), Counts(400, 4), False),  # 6 %, beside 1 %
        (Counts(50, 4), Counts(400, 4), True),  # 8 %
        (Counts(9, 3), Counts(400, 0), True),  # 3 of 50 would be 6 %
        (Counts(9, 2), Counts(400, 0), False),  # 2 of 50 would be 4 %
        (Counts(50, 10), Counts(400, 80), False),  # as many as in the stable pods
        (Counts(50, 11), Counts(400, 400), True),  # more than maxFailureRatio, whatever the stable pods do
        (Counts(50, 4), Counts(10, 0), False),  # the stable pods may still turn out to be as bad
        (Counts(9, 9), Counts(0, 0), False),
        (Counts(11, 11), Counts(0, 0), True),
    ],
)
def test_failures(canary: Counts, stable: Counts, fails: bool) -> None:
    assert (failure(GATE, Seen(canary, stable)) is not None) is fails


@given(counts(), counts(), counts(), counts())
def test_what_is_certain_stays_so(canary: Counts, stable: Counts, later: Counts, others: Counts) -> None:
    """A version that has failed before minJobs would have failed then, if all other jobs had succeeded."""
    if failure(GATE, Seen(canary, stable)) is None:
        return
    good = Counts(max(0, GATE.min_jobs - canary.jobs), 0)
    bad = max(0, GATE.min_jobs - stable.jobs)
    assert failure(GATE, Seen(canary.plus(good), stable.plus(Counts(bad, bad)))) is not None


@given(counts(50), counts(50))
def test_with_enough_jobs_it_is_decided(canary: Counts, stable: Counts) -> None:
    ratio, beside = Fraction(canary.failures, canary.jobs), Fraction(stable.failures, stable.jobs)
    allowed = min(Fraction(20, 100), beside + Fraction(5, 100))
    seen = Seen(canary, stable)
    assert (failure(GATE, seen) is not None) == (ratio > allowed)
    assert missing(GATE, seen) is None


def test_slow_handlers_crashes_and_breakers_fail() -> None:
    slow = Gate.model_validate({"minJobs": 50, "maxHandlerP95": "2s"})
    assert failure(slow, Seen(Counts(50, 0, 2), FINE.stable)) is None
    assert "3 of 50 jobs took longer" in str(failure(slow, Seen(Counts(50, 0, 3), FINE.stable)))
    assert failure(GATE, replace(FINE, crash="pod x: boom")) == "pod x: boom"
    assert "'mail'" in str(failure(GATE, replace(FINE, breaker="mail")))


def test_what_is_unknown_is_not_passed() -> None:
    assert missing(GATE, FINE) is None
    assert missing(GATE, replace(FINE, canary=Counts(49))) == "49 of at least 50 jobs have ended in the canary"
    assert missing(GATE, replace(FINE, stable=Counts(3))) == "3 of at least 50 jobs have ended in the stable pods"
    assert missing(GATE, replace(FINE, silent="pod x is silent")) == "pod x is silent"


@given(st.integers(1, 99), st.integers(1, 500), st.integers(1, 64), st.integers(1, 64))
def test_no_other_number_of_pods_is_closer_to_the_share(share: int, pods: int, slots: int, others: int) -> None:
    wanted = Fraction(share, 100)
    chosen = pods_for(wanted, pods * others, slots)

    def distance(number: int) -> Fraction:
        return abs(share_of(number * slots, pods * others) - wanted)

    assert chosen >= 1
    assert distance(chosen) <= distance(chosen + 1)
    assert chosen == 1 or distance(chosen) <= distance(chosen - 1)


def test_beside_no_pods_there_is_no_canary() -> None:
    assert pods_for(fraction("10%"), 0, 64) == 0


def ready(wanted: int = 2, **status: Any) -> Rollout:
    counted = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), wanted)
    return rollout(deployment(wanted, **counted | status))


STATE = State(Phase.PROGRESSING, "old", "new", since=NOW, available=True)
STARTING = replace(STATE, available=False)
STOPPED = ready(1, availableReplicas=0)
AFTER = Facts("new", NOW + timedelta(minutes=5), stable=ready(), canary=ready(1), seen=FINE)
LATE = replace(AFTER, now=NOW + timedelta(seconds=600), canary=STOPPED)


@pytest.mark.parametrize(
    ("state", "facts", "phase", "step"),
    [
        (None, AFTER, Phase.STABLE, 0),
        (State(Phase.STABLE, "old", "old"), AFTER, Phase.PROGRESSING, 0),
        (STATE, AFTER, Phase.PROGRESSING, 1),
        (STATE, replace(AFTER, now=NOW + timedelta(seconds=299)), Phase.PROGRESSING, 0),
        (STATE, replace(AFTER, seen=None), Phase.WAITING, 0),
        (STATE, replace(AFTER, seen=replace(FINE, canary=Counts(3))), Phase.WAITING, 0),
        (STATE, replace(AFTER, stable=ready(0)), Phase.WAITING, 0),
        (STATE, replace(AFTER, stable=None), Phase.WAITING, 0),
        (STATE, replace(AFTER, refused="quota"), Phase.WAITING, 0),
        (STATE, replace(AFTER, revision="newer"), Phase.PROGRESSING, 0),
        (STATE, replace(AFTER, revision="old"), Phase.STABLE, 0),
        (STATE, replace(AFTER, revision=None), Phase.PROGRESSING, 0),
        (STATE, replace(AFTER, suspended=True), Phase.PROGRESSING, 0),
        (STATE, replace(AFTER, abort="new"), Phase.FAILED, 0),
        (STATE, replace(AFTER, abort="other"), Phase.PROGRESSING, 1),
        (STATE, replace(AFTER, promote="new"), Phase.PROMOTING, 0),
        (STATE, replace(AFTER, promote="new", abort="new"), Phase.FAILED, 0),
        (STATE, replace(AFTER, seen=replace(FINE, crash="boom")), Phase.FAILED, 0),
        (STARTING, replace(AFTER, canary=STOPPED), Phase.PROGRESSING, 0),
        (STARTING, AFTER, Phase.PROGRESSING, 0),
        (STARTING, replace(LATE, canary=ready(1)), Phase.PROGRESSING, 0),
        (STARTING, LATE, Phase.FAILED, 0),
        (STARTING, replace(LATE, stable=ready(2, availableReplicas=0)), Phase.WAITING, 0),
        (STARTING, replace(LATE, canary=None), Phase.PROGRESSING, 0),
        (replace(STATE, since=None, available=False), replace(LATE), Phase.PROGRESSING, 0),
        (replace(STATE, step=1), AFTER, Phase.PROMOTING, 1),
        (replace(STATE, step=7), AFTER, Phase.PROMOTING, 7),
        (replace(STATE, phase=Phase.FAILED), AFTER, Phase.FAILED, 0),
        (replace(STATE, phase=Phase.FAILED), replace(AFTER, promote="new"), Phase.PROMOTING, 0),
        (replace(STATE, phase=Phase.FAILED), replace(AFTER, revision="newer"), Phase.PROGRESSING, 0),
        (replace(STATE, phase=Phase.PROMOTING, stable="new"), replace(AFTER, stable=None), Phase.PROMOTING, 0),
        (replace(STATE, phase=Phase.PROMOTING, stable="new"), AFTER, Phase.STABLE, 0),
    ],
)
def test_the_next_phase(state: State | None, facts: Facts, phase: Phase, step: int) -> None:
    after = following(state, facts, PLAN)
    assert after is not None
    assert (after.phase, after.step) == (phase, step)
    assert (after.stable == "new") == (phase == Phase.PROMOTING or state is None or state.stable == "new")


def test_a_failure_pauses_when_a_person_should_look() -> None:
    after = following(
        STATE, replace(AFTER, seen=replace(FINE, crash="boom")), PLAN.model_copy(update={"on_failure": "Pause"})
    )
    assert after is not None
    assert (after.phase, after.message) == (Phase.PAUSED, "boom")


def test_a_failed_start_is_explained_by_the_pod() -> None:
    seen = replace(FINE, problem=Problem("ImagePullBackOff", "pod x: image 'y' can't be pulled"))
    starting = following(STARTING, replace(AFTER, canary=STOPPED, seen=seen), PLAN)
    assert starting is not None
    assert (starting.phase, starting.message) == (Phase.PROGRESSING, "pod x: image 'y' can't be pulled")
    after = following(STARTING, replace(LATE, seen=seen), PLAN)
    assert after is not None
    assert after.message == "pod x: image 'y' can't be pulled"


@pytest.mark.parametrize(
    "state", [STATE, State(Phase.STABLE, "a", "a"), replace(STATE, canary=Counts(5, 2, 1), message="x")]
)
def test_the_status_keeps_the_state(state: State) -> None:
    assert recorded({"status": {"rollout": state.status(2)}}) == state


@pytest.mark.parametrize(
    "fields", [None, {}, {"phase": "?"}, {"phase": "Stable"}, "x", {"phase": "Stable", "revision": 1}]
)
def test_a_status_that_can_not_be_read_is_none(fields: object) -> None:
    assert recorded({"status": {"rollout": fields}}) is None
