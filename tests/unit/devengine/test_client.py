"""The engine without a network: how today's engines behave, by each generation's rules."""

from datetime import UTC, datetime, timedelta

import pytest

from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.errors import Conflict, InternalError, NotFound, NotSupported, SchemaViolation

NOW = datetime(2026, 11, 1, tzinfo=UTC)
TASK = {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "t", "nextStep": "e"}
END = {"id": "e", "name": "E", "type": "END"}


@pytest.fixture
async def fake() -> FakeEngine:
    """An engine that knows `d`, and `strict`, whose result must have `ok`."""
    engine = FakeEngine(EngineState(clock=NOW.timestamp))
    await engine.upload_definition({"id": "d", "name": "D", "steps": [TASK, END]})
    strict = TASK | {"outputs_schema": {"required": ["ok"]}}
    await engine.upload_definition({"id": "strict", "name": "S", "steps": [strict, END]})
    return engine


async def test_a_job_has_the_length_of_its_lease(fake: FakeEngine) -> None:
    for lease, seconds in ((None, 30), (60, 60), (61.9, 61)):
        await fake.start_instance("d")
        [job] = await fake.poll_jobs("w", ["t"], 1, lease)
        assert (job.locked_at, job.lock_expires_at) == (NOW, NOW + timedelta(seconds=seconds))


async def test_a_lease_is_renewed(fake: FakeEngine) -> None:
    await fake.start_instance("d")
    [job] = await fake.poll_jobs("w", ["t"], 1)
    assert await fake.extend_lease(job.id, "w", 90) == NOW + timedelta(seconds=90)
    with pytest.raises(Conflict, match="extend_lease: job lease lost"):
        await fake.extend_lease(job.id, "other", 90)
    with pytest.raises(NotFound):
        await fake.extend_lease("nope", "w", 90)
    fake.state.heartbeat = False
    with pytest.raises(NotSupported):
        await fake.extend_lease(job.id, "w", 90)


async def test_a_failed_step_is_retried(fake: FakeEngine) -> None:
    started = await fake.start_instance("d", {"n": 1}, business_key="k")
    with pytest.raises(Conflict):
        await fake.start_instance("d", business_key="k")
    [job] = await fake.poll_jobs("w", ["t"], 1)
    await fake.fail_job(job.id, "w", "no", retryable=False)
    retried = await fake.retry_step(started.id, "a", {"n": 2})
    assert (retried.status, retried.variables) == ("ACTIVE", {"n": 2})
    with pytest.raises(Conflict):
        await fake.retry_step(started.id, "a")
    with pytest.raises(NotFound):
        await fake.retry_step("nope", "a")
    fake.state.generation = "A"
    with pytest.raises(NotSupported):
        await fake.retry_step(started.id, "a")


async def test_a_result_that_violates_its_schema(fake: FakeEngine) -> None:
    await fake.start_instance("strict")
    [job] = await fake.poll_jobs("w", ["t"], 1)
    with pytest.raises(SchemaViolation, match="complete_job: schema violation: "):
        await fake.complete_job(job.id, "w", {})
    await fake.complete_job(job.id, "w", {})


async def test_unknown_ids_are_not_found_in_any_generation(fake: FakeEngine) -> None:
    for generation in ("A", "fenced"):
        fake.state.generation = generation
        with pytest.raises(NotFound):
            await fake.complete_job("nope", "w", {})
        with pytest.raises(NotFound):
            await fake.fail_job("nope", "w", "no", retryable=True)
    assert await fake.get_instance_history("nope") == []


async def test_values_that_cannot_be_stored_are_an_internal_error(fake: FakeEngine) -> None:
    with pytest.raises(InternalError, match="SQLSTATE 22P05"):
        await fake.start_instance("d", {"text": "\0"})


async def test_replicas_answer_in_turn(fake: FakeEngine) -> None:
    await fake.start_instance("d")
    [job] = await fake.poll_jobs("w", ["t"], 1)
    fake.state.rolling = True
    with pytest.raises(NotSupported):
        await fake.extend_lease(job.id, "w", 30)
    await fake.extend_lease(job.id, "w", 30)
