"""The state machine, call by call, under a clock that tests move: the rules of every generation (engine.md)."""

from collections import Counter
from typing import Any

import pytest

from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import BadRequestError, ConflictError, InternalError, NotFoundError
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.model.ulid import Ulids
from rochallor_worker.devengine.records import Job

from .conftest import Clock


def claim(state: EngineState, job_type: str = "pick", worker_id: str = "w") -> Job:
    [job] = state.poll(worker_id, [job_type], 1)
    return job


def rename(state: EngineState, definition_id: str, name: str) -> int:
    steps = state.definitions.get("order").steps
    return state.definitions.upload(Definition(id=definition_id, name=name, steps=steps))[0].version


def test_an_instance_runs_from_its_first_step_to_end(state: EngineState, clock: Clock) -> None:
    instance = state.start("order", variables={"sku": 7})
    assert (instance.status, instance.current_step_ids) == ("ACTIVE", ("a",))

    clock.now += 1
    state.complete(claim(state).id, "w", {"picked": True})
    assert (instance.status, instance.current_step_ids) == ("ACTIVE", ("b",))

    clock.now += 1
    second = claim(state, "ship")  # available as soon as the complete returns
    assert second.variables == {"sku": 7, "picked": True}
    state.complete(second.id, "w", {"sku": 8})

    assert (instance.status, instance.current_step_ids) == ("COMPLETED", ())
    assert instance.variables == {"sku": 8, "picked": True}
    assert instance.completed_at == clock.now
    assert [(entry.step_id, entry.step_type, entry.attempt, entry.status) for entry in instance.history] == [
        ("a", "SERVICE_TASK", 1, "COMPLETED"),
        ("b", "SERVICE_TASK", 1, "COMPLETED"),
        ("e", "END", 1, "COMPLETED"),
    ]


def test_a_claim_lasts_one_lease_and_spends_no_retry_when_it_ends(state: EngineState, clock: Clock) -> None:
    state.start("order")
    job = claim(state)
    assert (job.status, job.worker_id, job.lock_expires_at - job.locked_at) == ("LOCKED", "w", 30)

    clock.now += 30
    assert state.sweep() == 0
    assert state.poll("other", ["pick"], 1) == []
    clock.now += 0.001
    assert state.poll("other", ["pick"], 1) == []  # the lease has ended, but is not swept yet
    assert state.sweep() == 1
    assert claim(state, worker_id="other").retries_remaining == 2
    assert [(event.kind, event.worker_id) for event in state.log] == [
        ("claim", "w"),
        ("expire", "w"),
        ("claim", "other"),
    ]


def test_a_sweep_leaves_settled_and_reclaimed_jobs_alone(state: EngineState, clock: Clock) -> None:
    for _ in range(2):
        state.start("order")
    settled, reclaimed = state.poll("w", ["pick"], 2)
    state.complete(settled.id, "w")
    state.fail(reclaimed.id, "w", "no", retryable=True)
    clock.now += 20
    again = claim(state)
    clock.now += 11  # the first claims are over, the second is not
    assert state.sweep() == 0
    assert (settled.status, again.status) == ("COMPLETED", "LOCKED")


@pytest.mark.parametrize("reason", ["boom", ""])
def test_a_retryable_fail_unlocks_at_once_until_the_retries_are_spent(state: EngineState, reason: str) -> None:
    instance = state.start("order")
    runs = 0
    while instance.status == "ACTIVE":
        job = claim(state)
        runs += 1
        state.fail(job.id, "w", reason, retryable=True)
    assert runs == 3  # retryCount 2: two retries after the first run
    assert (instance.status, instance.failure_reason, job.status) == ("FAILED", reason, "FAILED")
    [entry] = instance.history
    assert (entry.attempt, entry.status, entry.failure_reason) == (1, "FAILED", reason)
    assert instance.current_step_ids == ("a",)


def test_a_fail_that_is_not_retryable_ends_the_instance(state: EngineState) -> None:
    instance = state.start("order")
    job = claim(state)
    state.fail(job.id, "w", "bad address", retryable=False)
    assert (job.status, job.retries_remaining, instance.status) == ("FAILED", 2, "FAILED")
    assert state.poll("w", ["pick"], 1) == []


def test_a_repeated_complete_changes_nothing(state: EngineState) -> None:
    instance = state.start("order")
    job = claim(state)
    state.complete(job.id, "w", {"n": 1})
    state.complete(job.id, "w", {"n": 2})
    assert instance.variables == {"n": 1}
    assert len(state.poll("w", ["ship"], 10)) == 1


def test_a_cancelled_instance_accepts_no_outcome(state: EngineState) -> None:
    instance = state.start("order")
    job = claim(state)
    state.cancel(instance.id, "changed my mind")
    state.complete(job.id, "w", {"n": 1})
    assert (instance.status, instance.variables, instance.failure_reason) == ("CANCELLED", {}, "changed my mind")
    assert state.poll("w", ["ship"], 10) == []
    for unknown in (instance.id, "nope"):
        with pytest.raises(InternalError, match="cancel: no rows in result set"):
            state.cancel(unknown)


def test_an_unknown_job_is_an_internal_error(state: EngineState) -> None:
    with pytest.raises(InternalError, match='job "x" not found'):
        state.complete("x", "w")
    words = 'job "x" not found' if state.generation == "A" else "lock job instance: no rows in result set"
    with pytest.raises(InternalError, match=words):
        state.fail("x", "w", "no", retryable=True)
    assert state.log == []


def test_an_unknown_definition_is_an_internal_error_of_a_start(state: EngineState) -> None:
    for definition_id, version in [("nope", 0), ("order", 2)]:
        with pytest.raises(InternalError, match="definition not found"):
            state.start(definition_id, version)
    assert state.instances == {}


def test_a_poll_claims_no_more_than_requested(state: EngineState) -> None:
    for _ in range(120):
        state.start("order")
    assert len(state.poll("w", ["pick"], 101)) == 101  # more than the published limit is accepted
    assert len(state.poll("w", ["pick"])) == 10
    assert len(state.poll("w", ["pick"], 100)) == 9


def test_a_poll_with_missing_arguments_is_refused(state: EngineState) -> None:
    with pytest.raises(BadRequestError, match="workerId is required"):
        state.poll("", ["pick"], 1)
    with pytest.raises(BadRequestError, match="jobTypes must not be empty"):
        state.poll("w", [], 1)


def test_an_upload_makes_the_next_version_and_instances_keep_theirs(state: EngineState) -> None:
    old = state.start("order")
    assert rename(state, "order", "Newer order") == 2
    assert state.start("order").definition.version == 2
    assert state.start("order", 1).definition.version == 1
    assert (old.definition.version, state.definitions.get("order").version) == (1, 2)
    assert rename(state, "order", "Order") == 1, "a version already has this content"
    assert state.start("order").definition.version == 2
    with pytest.raises(NotFoundError):
        state.definitions.get("order", 3)


def test_definitions_are_listed_by_id_with_their_newest_version(state: EngineState) -> None:
    rename(state, "zebra", "Striped order")
    rename(state, "apple", "Fruit")
    rename(state, "apple", "Fruit, again")

    def listed(**query: Any) -> tuple[list[tuple[str, int]], int]:
        found, total = state.definitions.list(**query)
        return [(entry.id, entry.version) for entry, _ in found], total

    assert listed() == ([("apple", 2), ("order", 1), ("zebra", 1)], 3)
    assert listed(keyword="ORDER") == ([("order", 1), ("zebra", 1)], 2)
    assert listed(page=1, page_size=2) == ([("zebra", 1)], 3)


def test_a_task_is_neither_a_user_task_nor_a_wait(state: EngineState) -> None:
    instance = state.start("order")
    with pytest.raises(NotFoundError, match="user task not found"):
        state.complete_user_task(instance.id, "nope")
    with pytest.raises(ConflictError, match="not currently parked"):
        state.signal_wait(instance.id, "nope")
    for call in (state.complete_user_task, state.signal_wait):
        with pytest.raises(BadRequestError, match="step type does not match the endpoint"):
            call(instance.id, "a")
        with pytest.raises(NotFoundError, match="workflow instance not found"):
            call("nope", "a")
    state.cancel(instance.id)
    for call in (state.complete_user_task, state.signal_wait):
        with pytest.raises(ConflictError, match="instance is in a terminal state"):
            call(instance.id, "a")


def test_ids_are_ulids_that_sort_by_time(state: EngineState, clock: Clock) -> None:
    ids = []
    for _ in range(50):
        clock.now += 0.001
        ids.append(state.start("order").id)
    assert ids == sorted(ids)
    assert (
        len(set(ids) | {entry.id for one in state.instances.values() for entry in one.history} | set(state.jobs)) == 150
    )
    assert Counter(map(len, ids)) == {26: 50}
    assert set("".join(ids)) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


def test_ids_continue_when_their_lowest_characters_overflow() -> None:
    ulids = Ulids()
    ulids._count = 32**4 - 3
    ids = [ulids.next(1.0) for _ in range(5)]
    assert ids == sorted(set(ids))
    assert ids[1][-4:] == "ZZZZ"
    assert ids[2][-4:] == "0000"
