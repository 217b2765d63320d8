"""What job calls do on fenced engines (engine.md: "Fenced engines")."""

import pytest

from rochallor_worker.devengine.errors import (
    BadRequestError,
    ConflictError,
    InternalError,
    NotFoundError,
    NotSupportedError,
    TakenError,
)
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.records import Job

from .conftest import Clock, knowing_order, upload
from .test_model import claim


def counted(state: EngineState) -> list[bool]:
    """Whether each complete, fail and renewal so far counted."""
    return [event.counted for event in state.log if event.kind in {"complete", "fail", "extend"}]


def facts(job: Job) -> tuple[str, int, str]:
    return job.execution.id, job.retries_remaining, job.status


def test_an_outcome_of_another_worker_is_dropped(fenced: EngineState) -> None:
    instance = fenced.start("order")
    job = claim(fenced, worker_id="holder")
    fenced.complete(job.id, "other", {"n": 1})
    fenced.fail(job.id, "other", "no", retryable=False)
    assert (instance.status, instance.variables, job.status) == ("ACTIVE", {}, "LOCKED")
    fenced.complete(job.id, "holder", {"n": 2})
    assert (instance.variables, counted(fenced)) == ({"n": 2}, [False, False, True])


@pytest.mark.parametrize("swept", [False, True])
def test_an_outcome_after_the_end_of_the_lease_is_dropped(fenced: EngineState, clock: Clock, swept: bool) -> None:
    instance = fenced.start("order")
    job = claim(fenced)
    clock.now += 30.001
    if swept:
        fenced.sweep()
    fenced.complete(job.id, "w", {"n": 1})
    fenced.fail(job.id, "w", "late", retryable=False)
    assert (instance.status, instance.variables, counted(fenced)) == ("ACTIVE", {}, [False, False])


def test_the_first_outcome_of_a_job_is_the_one_that_counts(fenced: EngineState) -> None:
    instance = fenced.start("order")
    job = claim(fenced)
    fenced.complete(job.id, "w")
    fenced.fail(job.id, "w", "too late", retryable=False)
    assert (job.status, instance.status, instance.current_step_ids) == ("COMPLETED", "ACTIVE", ("b",))
    shipping = claim(fenced, "ship")
    fenced.fail(shipping.id, "w", "no", retryable=False)
    fenced.complete(shipping.id, "w", {"n": 1})
    assert (shipping.status, instance.status, instance.variables) == ("FAILED", "FAILED", {})


def test_two_completes_at_once_move_the_instance_on_once(fenced: EngineState) -> None:
    fenced.start("order")
    job = claim(fenced)
    first, second = fenced.completing(job.id, "w"), fenced.completing(job.id, "w")
    for step in (first, second, first, second):
        next(step, None)
    assert len(fenced.poll("w", ["ship"], 10)) == 1


def test_a_job_that_waits_may_be_settled_by_anyone(fenced: EngineState) -> None:
    instance = fenced.start("order")
    [job] = fenced.jobs.values()
    fenced.complete(job.id, "anyone")
    assert (job.status, instance.current_step_ids) == ("COMPLETED", ("b",))
    assert fenced.poll("w", ["pick"], 10) == []


def test_a_retry_is_a_new_job_at_the_end_of_the_queue(fenced: EngineState, clock: Clock) -> None:
    fenced.start("order", variables={"i": 1})
    fenced.start("order")
    clock.now += 1
    first = claim(fenced)
    fenced.fail(first.id, "w", "no", retryable=True)
    fenced.fail(first.id, "w", "still no", retryable=True)  # it is settled
    assert facts(first) == (first.execution.id, 2, "FAILED")
    _, retry = fenced.poll("w", ["pick"], 10)
    assert facts(retry) == (first.execution.id, 1, "LOCKED")
    assert (retry.variables, retry.created_at, retry.id == first.id) == ({"i": 1}, clock.now, False)
    fenced.complete(first.id, "w")  # the id of an ended attempt
    assert retry.instance.current_step_ids == ("a",)


def test_an_ended_lease_makes_a_new_job_with_the_same_retries(fenced: EngineState, clock: Clock) -> None:
    fenced.start("order")
    first = claim(fenced)
    fenced.start("order")
    clock.now += 31
    assert fenced.sweep() == 1
    assert fenced.sweep() == 0
    _, recovered = fenced.poll("w", ["pick"], 10)
    assert facts(first) == (first.execution.id, 2, "CANCELLED")
    assert facts(recovered) == (first.execution.id, 2, "LOCKED")
    assert recovered.created_at == clock.now


def test_a_locked_job_of_an_ended_instance_stays_locked_while_others_are_handed_out(
    fenced: EngineState, clock: Clock
) -> None:
    locked, waiting = fenced.start("order"), fenced.start("order")
    job = claim(fenced)
    for instance in (locked, waiting):
        fenced.cancel(instance.id)
    clock.now += 100
    assert fenced.sweep() == 0
    assert job.status == "LOCKED"
    handed_out = claim(fenced)
    assert handed_out.instance is waiting
    fenced.complete(handed_out.id, "w", {"n": 1})
    assert (handed_out.status, waiting.variables) == ("LOCKED", {})


@pytest.mark.parametrize(("asked", "got"), [(0, 30), (5, 5), (3600, 3600)])
def test_a_poll_may_ask_for_the_length_of_its_leases(fenced: EngineState, clock: Clock, asked: int, got: int) -> None:
    fenced.start("order")
    [job] = fenced.poll("w", ["pick"], 1, asked)
    assert job.lock_expires_at - job.locked_at == got
    clock.now += got
    assert fenced.sweep() == 0
    clock.now += 0.001
    assert fenced.sweep() == 1


@pytest.mark.parametrize("seconds", [-1, 4, 3601])
def test_a_lease_length_out_of_bounds_is_refused(fenced: EngineState, seconds: int) -> None:
    fenced.start("order")
    job = claim(fenced)
    for call in (lambda: fenced.poll("w", ["pick"], 1, seconds), lambda: fenced.extend_lease(job.id, "w", seconds)):
        with pytest.raises(BadRequestError, match="leaseSeconds must be 0 or 5-3600"):
            call()
    fenced.heartbeat = False  # generation C ignores it
    assert fenced.poll("w", ["pick"], 1, seconds) == []


def test_a_renewed_lease_lasts_from_then_on(fenced: EngineState, clock: Clock) -> None:
    fenced.start("order")
    job = claim(fenced)
    clock.now += 29
    assert fenced.extend_lease(job.id, "w", 60).lock_expires_at == clock.now + 60
    clock.now += 59
    assert fenced.sweep() == 0
    assert fenced.extend_lease(job.id, "w").lock_expires_at == clock.now + 30
    clock.now += 31
    assert fenced.sweep() == 1
    assert counted(fenced) == [True, True]


def test_a_lost_lease_cannot_be_renewed(fenced: EngineState, clock: Clock) -> None:
    def renewed(job: Job, worker_id: str = "w") -> None:
        with pytest.raises(ConflictError, match="job lease lost"):
            fenced.extend_lease(job.id, worker_id, 30)

    for _ in range(3):
        fenced.start("order")
    ended, cancelled, settled = fenced.poll("w", ["pick"], 3)
    renewed(ended, "other")
    fenced.cancel(cancelled.instance.id)
    renewed(cancelled)
    fenced.complete(settled.id, "w")
    renewed(settled)
    clock.now += 30.001
    renewed(ended)
    fenced.sweep()
    renewed(ended)
    [*_, waiting] = fenced.jobs.values()
    renewed(waiting)
    with pytest.raises(BadRequestError, match="workerId is required"):
        fenced.extend_lease(ended.id, "")
    with pytest.raises(InternalError, match='job "nope" not found'):
        fenced.extend_lease("nope", "w")
    fenced.heartbeat = False
    with pytest.raises(NotSupportedError):
        fenced.extend_lease(ended.id, "w")


@pytest.mark.parametrize("skew", [-20, 20])
def test_the_engines_clock_sets_the_end_of_a_lease_and_the_databases_checks_it(clock: Clock, skew: int) -> None:
    engine = knowing_order(EngineState(clock=clock, skew=skew))
    instance = engine.start("order")
    job = claim(engine)
    assert (job.locked_at, job.lock_expires_at) == (clock.now, clock.now + skew + 30)
    clock.now += 30 + skew + 0.001
    engine.complete(job.id, "w")
    assert instance.current_step_ids == ("a",)
    assert engine.sweep() == 1


def test_a_business_key_belongs_to_one_live_instance_of_a_definition(fenced: EngineState) -> None:
    upload(fenced, {"id": "end", "name": "End", "steps": [{"id": "e", "name": "E", "type": "END"}]})
    for _ in range(2):
        fenced.start("end", business_key="k")  # over at once
        fenced.start("order")
    first = fenced.start("order", business_key="k")
    with pytest.raises(TakenError):
        fenced.start("order", business_key="k")
    fenced.cancel(first.id)
    fenced.start("order", business_key="k")


def test_a_failed_step_can_be_retried_with_all_its_retries(fenced: EngineState, clock: Clock) -> None:
    instance = fenced.start("order", variables={"sku": 1, "old": True})
    failed = claim(fenced)
    fenced.fail(failed.id, "w", "no", retryable=False)
    clock.now += 1
    assert fenced.retry_step(instance.id, "a", {"sku": 2}) is instance
    assert (instance.status, instance.completed_at, instance.failure_reason) == ("ACTIVE", None, None)
    assert (instance.current_step_ids, instance.variables) == (("a",), {"sku": 2, "old": True})
    again = claim(fenced)
    assert (again.retries_remaining, again.variables) == (2, {"sku": 2, "old": True})
    assert again.execution.id != failed.execution.id
    assert [(entry.attempt, entry.status) for entry in instance.history] == [(1, "FAILED"), (2, "RUNNING")]
    assert fenced.list_instances(status="ACTIVE")[1] == 1
    assert fenced.list_instances(status="FAILED")[1] == 0


def test_only_a_failed_step_of_a_failed_instance_can_be_retried(fenced: EngineState) -> None:
    instance = fenced.start("order", business_key="k")
    with pytest.raises(NotFoundError, match="workflow instance not found"):
        fenced.retry_step("nope", "a")
    with pytest.raises(ConflictError, match="instance is ACTIVE, not FAILED"):
        fenced.retry_step(instance.id, "a")
    fenced.complete(claim(fenced).id, "w")
    fenced.fail(claim(fenced, "ship").id, "w", "no", retryable=False)
    for step in ("a", "e"):
        with pytest.raises(ConflictError, match="is not FAILED"):
            fenced.retry_step(instance.id, step)
    with pytest.raises(InternalError, match='step "nope" not found'):
        fenced.retry_step(instance.id, "nope")
    with pytest.raises(InternalError, match="22P05"):
        fenced.retry_step(instance.id, "b", {"x": "\0"})
    fenced.start("order", business_key="k")
    with pytest.raises(TakenError):
        fenced.retry_step(instance.id, "b")
    assert instance.status == "FAILED"


def test_a_task_without_job_type_is_named_like_its_step(fenced: EngineState) -> None:
    steps = [{"id": "a", "name": "A", "type": "SERVICE_TASK", "nextStep": "e"}, {"id": "e", "name": "E", "type": "END"}]
    upload(fenced, {"id": "d", "name": "D", "steps": steps})
    fenced.start("d")
    assert claim(fenced, "a").job_type == "a"


def test_an_engine_can_be_upgraded_in_the_middle_of_a_run(fenced: EngineState) -> None:
    fenced.generation = "A"
    fenced.start("order")
    job = claim(fenced, worker_id="late")
    fenced.fail(job.id, "other", "no", retryable=True)
    fenced.generation = "fenced"
    assert claim(fenced) is job
    fenced.complete(job.id, "late")
    assert job.status == "LOCKED"


def test_replicas_of_two_generations_answer_in_turn(fenced: EngineState) -> None:
    assert [fenced.replica().generation for _ in range(3)] == ["fenced"] * 3
    fenced.rolling = True
    assert [fenced.replica().generation for _ in range(3)] == ["A", "fenced", "A"]
    fenced.rolling = False
    assert fenced.replica().generation == "A"
