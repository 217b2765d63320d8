"""The state machine, call by call, under a clock that tests move (engine.md)."""

from collections import Counter
from typing import Any

import pytest

from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import BadRequestError, ConflictError, InternalError, NotFoundError
from rochallor_worker.devengine.model import EngineState
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
    second = claim(state, "ship")  # there as soon as the complete returned
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
    assert state.poll("other", ["pick"], 1) == []  # the lease is over, though nobody has swept
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
    claim(state)
    clock.now += 11  # the first claims are over, the second is not
    assert state.sweep() == 0
    assert (settled.status, reclaimed.status) == ("COMPLETED", "LOCKED")


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


def test_a_repeated_fail_spends_another_retry(state: EngineState) -> None:
    state.start("order")
    job = claim(state)
    for _ in range(2):
        state.fail(job.id, "w", "no", retryable=True)
    assert (job.retries_remaining, job.status) == (0, "UNLOCKED")
    assert [found.id for found in state.poll("w", ["pick"], 10)] == [job.id]


def test_a_late_fail_takes_another_workers_lease_away(state: EngineState, clock: Clock) -> None:
    state.start("order")
    late = claim(state, worker_id="late")
    clock.now += 31
    state.sweep()
    claim(state, worker_id="holder")
    state.fail(late.id, "late", "no", retryable=True)
    assert claim(state, worker_id="third").id == late.id


def test_a_fail_after_a_complete_turns_the_job_failed(state: EngineState) -> None:
    instance = state.start("order")
    state.complete(claim(state).id, "w")
    job = claim(state, "ship")
    state.complete(job.id, "w")
    assert instance.status == "COMPLETED"
    state.fail(job.id, "w", "too late", retryable=True)  # ship has no retries
    assert (job.status, instance.status, instance.failure_reason) == ("FAILED", "FAILED", "too late")


def test_a_late_complete_is_accepted_whoever_holds_the_job(state: EngineState, clock: Clock) -> None:
    instance = state.start("order")
    job = claim(state, worker_id="late")
    clock.now += 31
    state.sweep()
    claim(state, worker_id="holder")
    state.complete(job.id, "late")
    assert (job.status, job.worker_id, instance.current_step_ids) == ("COMPLETED", "late", ("b",))


def test_a_complete_of_an_unlocked_job_takes_it_out_of_the_backlog(state: EngineState, clock: Clock) -> None:
    state.start("order")
    job = claim(state)
    clock.now += 31
    state.sweep()
    state.complete(job.id, "late")
    assert state.poll("w", ["pick"], 10) == []


def test_a_repeated_complete_changes_nothing(state: EngineState) -> None:
    instance = state.start("order")
    job = claim(state)
    state.complete(job.id, "w", {"n": 1})
    state.complete(job.id, "w", {"n": 2})
    assert instance.variables == {"n": 1}
    assert len(state.poll("w", ["ship"], 10)) == 1


def test_a_complete_of_a_failed_job_moves_nothing(state: EngineState) -> None:
    instance = state.start("order")
    job = claim(state)
    state.fail(job.id, "w", "no", retryable=False)
    state.complete(job.id, "w", {"n": 1})
    assert (job.status, instance.status, instance.variables) == ("COMPLETED", "FAILED", {})
    assert state.poll("w", ["ship"], 10) == []


def test_a_cancelled_instance_takes_no_outcome(state: EngineState) -> None:
    instance = state.start("order")
    job = claim(state)
    state.cancel(instance.id, "changed my mind")
    state.complete(job.id, "w", {"n": 1})
    assert (instance.status, instance.variables, instance.failure_reason) == ("CANCELLED", {}, "changed my mind")
    assert state.poll("w", ["ship"], 10) == []
    with pytest.raises(InternalError):
        state.cancel(instance.id)


def test_an_unknown_job_is_an_internal_error(state: EngineState) -> None:
    with pytest.raises(InternalError, match='job "x" not found'):
        state.complete("x", "w")
    with pytest.raises(InternalError, match='job "x" not found'):
        state.fail("x", "w", "no", retryable=True)
    assert state.log == []


def test_an_unknown_definition_is_an_internal_error_of_a_start(state: EngineState) -> None:
    for definition_id, version in [("nope", 0), ("order", 2)]:
        with pytest.raises(InternalError, match="definition not found"):
            state.start(definition_id, version)
    assert state.instances == {}


def test_poll_takes_the_oldest_over_all_types(state: EngineState, clock: Clock) -> None:
    for _ in range(2):
        state.start("order")
    clock.now += 1
    first, second = state.poll("w", ["pick"], 2)
    state.complete(first.id, "w")  # the ship job of the first instance is younger than both pick jobs
    state.fail(second.id, "w", "no", retryable=True)  # back in its old place
    assert [job.job_type for job in state.poll("w", ["ship", "pick", "ship"], 10)] == ["pick", "ship"]


def test_poll_takes_no_more_than_asked(state: EngineState) -> None:
    for _ in range(120):
        state.start("order")
    assert len(state.poll("w", ["pick"], 101)) == 101  # more than the published limit is accepted
    assert len(state.poll("w", ["pick"])) == 10
    assert len(state.poll("w", ["pick"], 100)) == 9


def test_poll_refuses_missing_arguments(state: EngineState) -> None:
    with pytest.raises(BadRequestError, match="workerId is required"):
        state.poll("", ["pick"], 1)
    with pytest.raises(BadRequestError, match="jobTypes must not be empty"):
        state.poll("w", [], 1)


def test_an_upload_makes_the_next_version_and_instances_keep_theirs(state: EngineState) -> None:
    old = state.start("order")
    assert rename(state, "order", "Order") == 2
    assert state.start("order").definition.version == 2
    assert state.start("order", 1).definition.version == 1
    assert (old.definition.version, state.definitions.get("order").version) == (1, 2)
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


def test_instances_are_listed_newest_first_by_what_they_match(state: EngineState) -> None:
    rename(state, "other", "Other")
    mine = [state.start("order", business_key="k") for _ in range(3)]
    theirs = state.start("other", business_key="k")
    state.cancel(mine[1].id)

    def listed(**query: Any) -> tuple[list[str], int]:
        found, total = state.list_instances(**query)
        return [instance.id for instance in found], total

    assert listed() == ([theirs.id, mine[2].id, mine[1].id, mine[0].id], 4)
    assert listed(definition_id="order", page_size=2) == ([mine[2].id, mine[1].id], 3)
    assert listed(definition_id="order", page=1, page_size=2) == ([mine[0].id], 3)
    assert listed(page=2, page_size=2) == ([], 4)
    assert listed(status="ACTIVE", definition_id="order") == ([mine[2].id, mine[0].id], 2)
    assert listed(status="CANCELLED") == ([mine[1].id], 1)
    assert listed(business_key="k", status="ACTIVE", page=1, page_size=2) == ([mine[0].id], 3)
    assert listed(business_key="nope") == ([], 0)
    assert listed(status="WAITING") == ([], 0)


def test_there_are_neither_user_tasks_nor_waits(state: EngineState) -> None:
    instance = state.start("order")
    with pytest.raises(NotFoundError, match="user task not found"):
        state.complete_user_task(instance.id, "a")
    with pytest.raises(ConflictError, match="not currently parked"):
        state.signal_wait(instance.id, "a")
    for call in (state.complete_user_task, state.signal_wait):
        with pytest.raises(NotFoundError, match="instance not found"):
            call("nope", "a")


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
