"""What job calls do on engines of generation A, which check neither owner nor lease (engine.md)."""

from typing import Any

import pytest

from rochallor_worker.devengine.errors import BadRequestError, NotSupportedError
from rochallor_worker.devengine.model import EngineState

from .conftest import Clock, upload
from .test_model import claim, rename


def test_a_repeated_fail_spends_another_retry(unfenced: EngineState) -> None:
    unfenced.start("order")
    job = claim(unfenced)
    for _ in range(2):
        unfenced.fail(job.id, "w", "no", retryable=True)
    assert (job.retries_remaining, job.status) == (0, "UNLOCKED")
    assert [found.id for found in unfenced.poll("w", ["pick"], 10)] == [job.id]


def test_a_late_fail_takes_another_workers_lease_away(unfenced: EngineState, clock: Clock) -> None:
    unfenced.start("order")
    late = claim(unfenced, worker_id="late")
    clock.now += 31
    unfenced.sweep()
    claim(unfenced, worker_id="holder")
    unfenced.fail(late.id, "late", "no", retryable=True)
    assert claim(unfenced, worker_id="third").id == late.id


def test_a_fail_after_a_complete_turns_the_job_failed(unfenced: EngineState) -> None:
    instance = unfenced.start("order")
    unfenced.complete(claim(unfenced).id, "w")
    job = claim(unfenced, "ship")
    unfenced.complete(job.id, "w")
    assert instance.status == "COMPLETED"
    unfenced.fail(job.id, "w", "too late", retryable=True)  # ship has no retries
    assert (job.status, instance.status, instance.failure_reason) == ("FAILED", "FAILED", "too late")


def test_a_late_complete_is_accepted_from_any_worker(unfenced: EngineState, clock: Clock) -> None:
    instance = unfenced.start("order")
    job = claim(unfenced, worker_id="late")
    clock.now += 31
    unfenced.sweep()
    claim(unfenced, worker_id="holder")
    unfenced.complete(job.id, "late")
    assert (job.status, job.worker_id, instance.current_step_ids) == ("COMPLETED", "late", ("b",))


def test_a_complete_of_an_unlocked_job_takes_it_out_of_the_backlog(unfenced: EngineState, clock: Clock) -> None:
    unfenced.start("order")
    job = claim(unfenced)
    clock.now += 31
    unfenced.sweep()
    unfenced.complete(job.id, "late")
    assert unfenced.poll("w", ["pick"], 10) == []


def test_a_complete_of_a_failed_job_moves_nothing(unfenced: EngineState) -> None:
    instance = unfenced.start("order")
    job = claim(unfenced)
    unfenced.fail(job.id, "w", "no", retryable=False)
    unfenced.complete(job.id, "w", {"n": 1})
    assert (job.status, instance.status, instance.variables) == ("COMPLETED", "FAILED", {})
    assert unfenced.poll("w", ["ship"], 10) == []


def test_a_poll_claims_the_oldest_over_all_types(unfenced: EngineState, clock: Clock) -> None:
    for _ in range(2):
        unfenced.start("order")
    clock.now += 1
    first, second = unfenced.poll("w", ["pick"], 2)
    unfenced.complete(first.id, "w")  # the ship job of the first instance is younger than both pick jobs
    unfenced.fail(second.id, "w", "no", retryable=True)  # back in its old position
    assert [job.job_type for job in unfenced.poll("w", ["ship", "pick", "ship"], 10)] == ["pick", "ship"]


def test_instances_are_filtered_and_listed_newest_first(unfenced: EngineState) -> None:
    rename(unfenced, "other", "Other")
    mine = [unfenced.start("order", business_key="k") for _ in range(3)]
    theirs = unfenced.start("other", business_key="k")
    unfenced.cancel(mine[1].id)

    def listed(**query: Any) -> tuple[list[str], int]:
        found, total = unfenced.list_instances(**query)
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


def test_a_fail_turns_a_cancelled_instance_failed(unfenced: EngineState) -> None:
    instance = unfenced.start("order")
    job = claim(unfenced)
    unfenced.cancel(instance.id)
    unfenced.fail(job.id, "w", "late", retryable=False)
    assert (instance.status, instance.failure_reason) == ("FAILED", "late")


def test_an_ended_lease_redelivers_the_same_job_even_of_an_ended_instance(unfenced: EngineState, clock: Clock) -> None:
    instance = unfenced.start("order")
    job = claim(unfenced)
    unfenced.cancel(instance.id)
    clock.now += 31
    assert unfenced.sweep() == 1
    assert claim(unfenced) is job


def test_a_lease_is_as_long_as_the_engine_says(unfenced: EngineState, clock: Clock) -> None:
    unfenced.start("order")
    [job] = unfenced.poll("w", ["pick"], 1, lease_seconds=4)
    assert job.lock_expires_at == clock.now + 30
    with pytest.raises(NotSupportedError):
        unfenced.extend_lease(job.id, "w", 30)


def test_a_step_cannot_be_retried(unfenced: EngineState) -> None:
    instance = unfenced.start("order")
    unfenced.fail(claim(unfenced).id, "w", "no", retryable=False)
    with pytest.raises(NotSupportedError):
        unfenced.retry_step(instance.id, "a")


@pytest.mark.parametrize("field", ["input_schema", "outputs_schema", "hitPolicy", "decisionTable"])
def test_newer_fields_of_definitions_are_unknown(unfenced: EngineState, field: str) -> None:
    end: dict[str, object] = {"id": "e", "name": "E", "type": "END"}
    definition: dict[str, object] = {"id": "d", "name": "D", "steps": [end]}
    values: dict[str, object] = {"hitPolicy": "U", "decisionTable": {"rules": [{}]}}
    (definition if field == "input_schema" else end)[field] = values.get(field, {"required": ["x"]})
    with pytest.raises(BadRequestError, match=f'unknown field "{field}"'):
        upload(unfenced, definition)
