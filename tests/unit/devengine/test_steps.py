"""Steps and what follows them, beyond the recorded cases (tests/contract)."""

from typing import Any

import pytest

from rochallor_worker.devengine.errors import InternalError, NotFoundError
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.records import Instance
from unit.devengine.conftest import upload
from unit.devengine.definitions import change, decide, definition, fork, join, step, task


def started(state: EngineState, *steps: dict[str, Any], **variables: Any) -> Instance:
    upload(state, definition(*steps))
    return state.start("d", variables=variables)


def complete(state: EngineState, job_type: str, **variables: Any) -> None:
    [job] = state.poll("w", [job_type], 1)
    state.complete(job.id, "w", variables)


def entries(instance: Instance) -> list[tuple[str, int, str]]:
    return [(entry.step_id, entry.attempt, entry.status) for entry in instance.history]


def test_branches_are_entered_one_after_the_other_with_the_same_variables(state: EngineState) -> None:
    steps = [fork("p", "j", "x", "a"), change("x", "j", n="${n + 1}"), task("a", "j"), join("j")]
    instance = started(state, *steps, n=1)
    assert entries(instance) == [
        ("p", 1, "COMPLETED"),
        ("x", 1, "COMPLETED"),
        ("j", 1, "COMPLETED"),
        ("a", 1, "RUNNING"),
    ]
    [job] = state.poll("w", ["a"], 1)
    assert job.variables == {"n": 2}


def test_a_branch_that_reaches_the_end_at_once_ends_the_instance_before_the_next_branch(state: EngineState) -> None:
    instance = started(state, fork("p", "j", "end", "a"), task("a", "j"), join("j"))
    assert instance.status == "COMPLETED"
    assert state.poll("w", ["a"], 1) == []


def test_a_branch_that_fails_at_once_fails_the_instance(state: EngineState) -> None:
    instance = started(state, fork("p", "j", "x", "a"), change("x", "j", n="${nope}"), task("a", "j"), join("j"))
    assert (instance.status, instance.current_step_ids) == ("FAILED", ("x",))


def test_a_nested_gateway_lets_the_outer_join_open_early(state: EngineState) -> None:
    """The outer join counts the inner gateway as done as soon as it is entered: a quirk."""
    steps = [
        fork("p", "j", "inner", "c"),
        fork("inner", "k", "a", "b"),
        *(task("a", "k"), task("b", "k"), join("k", "j"), task("c", "j"), join("j", "z"), task("z")),
    ]
    instance = started(state, *steps)
    complete(state, "c")
    assert instance.current_step_ids == ("a", "b", "z")


def test_a_loop_counts_its_attempts(state: EngineState) -> None:
    instance = started(state, change("x", "d", n="${n + 1}"), decide("d", x="n < 3", end="n >= 3"), n=0)
    assert (instance.status, instance.variables) == ("COMPLETED", {"n": 3})
    assert entries(instance)[-3:] == [("x", 3, "COMPLETED"), ("d", 3, "COMPLETED"), ("end", 1, "COMPLETED")]


@pytest.mark.parametrize(
    "steps",
    [
        [decide("x", x="true", end="false")],
        [fork("p", "j", "p", "p"), join("j")],
        [change("x", "d", n=1), decide("d", x="n == 1", end="n != 1")],
    ],
)
def test_an_endless_loop_fails_the_call_and_leaves_nothing(state: EngineState, steps: list[Any]) -> None:
    with pytest.raises(InternalError, match=r"^start: more than 1000 steps without a task, a user task or a wait"):
        started(state, *steps)
    assert state.instances == {}


def test_a_failed_call_leaves_everything_as_it_was(state: EngineState) -> None:
    steps = [task("a", "x"), change("x", "y", n="${1}"), change("y", "j", m="${2}"), join("j")]
    instance = started(state, *steps)
    [job] = state.poll("w", ["a"], 1)
    before = (instance.variables, instance.history, instance.current_step_ids, instance.status)
    with pytest.raises(InternalError, match=r'^join step "j": no matching PARALLEL_GATEWAY found$'):
        state.complete(job.id, "w", {"v": 1})
    assert (instance.variables, instance.history, instance.current_step_ids, instance.status) == before
    assert (job.status, job.execution.status) == ("LOCKED", "RUNNING")
    user = started(state, step("u", "USER_TASK", nextStep="j"), join("j"))
    with pytest.raises(InternalError):
        state.complete_user_task(user.id, "u", {"v": 1})
    assert (user.variables, user.history[0].status, len(user.user_tasks)) == ({}, "RUNNING", 1)


def test_a_transformation_cannot_set_what_the_database_does_not_store(state: EngineState) -> None:
    with pytest.raises(InternalError, match="transformation: update variables: ERROR: unsupported Unicode"):
        started(state, change("x", v='${"\\x00"}'))


@pytest.mark.parametrize("value", ["${n / 0}", "${0 / 0}", "${len}", "${map(1..100000, big)}"])
def test_a_transformation_without_a_json_result_fails_the_call(state: EngineState, value: str) -> None:
    with pytest.raises(InternalError, match=r"^start: transformation: marshal merged vars: json: "):
        started(state, change("x", v=value), n=1, big=["x" * 100] * 100)


def test_numbers_of_expressions_are_whole_where_they_can_be(state: EngineState) -> None:
    instance = started(state, change("x", a="${n / 2}", b="${6 / 2}", c="${9007199254740993}", d=9007199254740993), n=7)
    assert instance.variables == {"n": 7, "a": 3.5, "b": 3, "c": 9007199254740993, "d": 9007199254740992}


def test_conditions_are_tried_in_the_order_of_the_definition(state: EngineState) -> None:
    instance = started(state, decide("d", a="n > 0", b="nope", end="n > 1"), task("a"), task("b"), n=5)
    assert instance.current_step_ids == ("a",)


def test_a_user_task_without_next_step_leaves_the_instance_at_no_step(state: EngineState) -> None:
    instance = started(state, decide("d", u="true", end="false"), step("u", "USER_TASK"))
    state.complete_user_task(instance.id, "u")
    assert (instance.status, instance.current_step_ids) == ("ACTIVE", ())
    with pytest.raises(NotFoundError):
        state.complete_user_task(instance.id, "u")


def test_a_failed_decision_can_be_retried(fenced: EngineState) -> None:
    instance = started(fenced, decide("d", u="ok == true", end="ok == false"), step("u", "USER_TASK", nextStep="end"))

    def ended_as() -> tuple[str, str | None, bool]:
        return instance.status, instance.failure_reason, instance.completed_at is not None

    undefined = 'expression eval error: expression "ok == true": undefined variable "ok"'
    assert ended_as() == ("FAILED", undefined, True)
    fenced.retry_step(instance.id, "d", {"ok": 5})
    assert ended_as() == ("FAILED", "no conditionalNextSteps branch matched (DecisionNoBranchMatched)", True)
    fenced.retry_step(instance.id, "d", {"ok": True})
    assert ended_as() == ("WAITING", None, False)


def test_a_step_retried_beside_a_user_task_leaves_the_instance_waiting(fenced: EngineState) -> None:
    steps = [fork("p", "j", "a", "u"), task("a", "j"), step("u", "USER_TASK", nextStep="j"), join("j")]
    instance = started(fenced, *steps)
    [job] = fenced.poll("w", ["a"], 1)
    fenced.fail(job.id, "w", "boom", retryable=False)
    fenced.retry_step(instance.id, "a")
    assert (instance.status, instance.current_step_ids) == ("WAITING", ("a", "u"))
    complete(fenced, "a")
    fenced.complete_user_task(instance.id, "u")
    assert instance.status == "COMPLETED"
