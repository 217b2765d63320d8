"""Timers under a clock that tests move, beyond the recorded cases (tests/contract: `timer-*`)."""

from typing import Any

import pytest

from rochallor_worker.devengine.errors import ConflictError
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.model.timers import seconds_of
from rochallor_worker.devengine.records import Instance
from unit.devengine.conftest import upload
from unit.devengine.definitions import change, definition, join, step, task, timer

DAY = 24 * 3600.0


def started(state: EngineState, *steps: dict[str, Any]) -> Instance:
    upload(state, definition(*steps))
    return state.start("d")


def test_a_timer_of_three_days_fires_after_three_days(state: EngineState) -> None:
    waiting = step("u", "USER_TASK", nextStep="end", boundaryEvents=[timer("x", interrupting=True)])
    instance = started(state, waiting, change("x", late=True))
    state.advance(3 * DAY - 1)
    assert instance.status == "WAITING"
    state.advance(1)
    assert (instance.status, instance.variables) == ("COMPLETED", {"late": True})


def test_timers_fire_in_order_each_at_its_time(state: EngineState) -> None:
    steps = [
        step("w", "WAIT", nextStep="end", boundaryEvents=[timer("b", "PT2H"), timer("a", "PT1H")]),
        *(step("a", "USER_TASK", nextStep="end"), step("b", "USER_TASK", nextStep="end")),
    ]
    instance = started(state, *steps)
    begun = instance.started_at
    state.advance(DAY)
    assert [(entry.step_id, entry.started_at - begun) for entry in instance.history] == [
        ("w", 0),
        ("a", 3600),
        ("b", 7200),
    ]


def test_a_timer_that_sets_itself_again_fires_as_often_as_time_allows(state: EngineState) -> None:
    again = step("w", "WAIT", nextStep="end", boundaryEvents=[timer("w", "PT1H", interrupting=True)])
    instance = started(state, again)
    state.advance(DAY)
    assert [entry.attempt for entry in instance.history] == list(range(1, 26))
    assert (instance.status, instance.current_step_ids) == ("WAITING", ("w",))


def test_a_timer_that_is_due_again_at_once_does_not_stop_time(state: EngineState) -> None:
    instance = started(
        state, step("w", "WAIT", nextStep="end", boundaryEvents=[timer("w", "PT0.000000001S", interrupting=True)])
    )
    state.advance(10)
    assert 10 <= len(instance.history) <= 13
    state.fire()


def test_the_job_of_an_interrupted_task_is_not_handed_out(state: EngineState) -> None:
    first = task("a", retryCount=1, boundaryEvents=[timer("late", interrupting=True)])
    instance = started(state, first, task("late"))
    [job] = state.poll("w", ["a"], 1)
    state.fail(job.id, "w", "boom", retryable=True)  # on fenced engines the retry is another job
    state.advance(3 * DAY)
    assert state.poll("w", ["a"], 1) == []
    assert instance.current_step_ids == ("late",)
    assert instance.history[0].failure_reason == "interrupted by boundary timer"


def test_an_interrupted_wait_accepts_no_signal(state: EngineState) -> None:
    waiting = step("w", "WAIT", nextStep="end", boundaryEvents=[timer("late", interrupting=True)])
    instance = started(state, waiting, task("late"))
    state.advance(3 * DAY)
    with pytest.raises(ConflictError, match="not currently parked"):
        state.signal_wait(instance.id, "w")


def test_in_an_ended_instance_only_a_timer_that_does_not_interrupt_fires(state: EngineState) -> None:
    events = [timer("late"), timer("never", interrupting=True), timer("end")]
    instance = started(state, task("a", boundaryEvents=events), task("late"), task("never"))
    [job] = state.poll("w", ["a"], 1)
    state.complete(job.id, "w")
    ended_at = instance.completed_at
    state.advance(3 * DAY)
    assert [job.job_type for job in state.poll("w", ["late", "never"], 10)] == ["late"]
    assert (instance.status, instance.completed_at) == ("COMPLETED", ended_at)


def test_a_timer_whose_target_fails_the_engine_changes_nothing(state: EngineState) -> None:
    waiting = step("w", "WAIT", nextStep="end", boundaryEvents=[timer("j", interrupting=True)])
    instance = started(state, waiting, join("j"))
    state.advance(4 * DAY)
    assert (instance.status, instance.current_step_ids, len(instance.history)) == ("WAITING", ("w",), 1)


def test_leases_end_when_time_passes(state: EngineState) -> None:
    instance = started(state, task("a"))
    [job] = state.poll("w", ["a"], 1)
    state.advance(60)
    [again] = state.poll("w2", ["a"], 1)
    assert (again.execution is job.execution, instance.status) == (True, "ACTIVE")


def test_time_continues_from_where_it_was_advanced_to(state: EngineState) -> None:
    before = state.now()
    state.advance(DAY)
    assert state.now() == before + DAY
    assert state.start("order").started_at == before + DAY


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("PT30S", 30),
        ("PT1H30M", 5400),
        ("PT0.5S", 0.5),
        ("P5S", 5),
        ("P1M", 60),
        ("P1DT50S", 50),
        ("PT-5S", 5),
        ("PT.5S", 0.5),
        ("PT5XPT3S", 3),
    ],
)
def test_a_duration(duration: str, seconds: float) -> None:
    assert seconds_of(duration) == seconds


@pytest.mark.parametrize("duration", ["P1D", "P7D", "P1W", "P1Y", "PT0S", "PT5", "PT5X", "PT.S", f"PT{'9' * 400}S"])
def test_a_zero_duration(duration: str) -> None:
    with pytest.raises(ValueError, match=f'^invalid or zero ISO-8601 duration: "{duration}"$'):
        seconds_of(duration)


@pytest.mark.parametrize("duration", ["", "P", "PT", "5S", "pt5s", "1h", "-PT5S", "x"])
def test_an_invalid_duration(duration: str) -> None:
    with pytest.raises(ValueError, match=f'^invalid ISO-8601 duration: "{duration}"$'):
        seconds_of(duration)
