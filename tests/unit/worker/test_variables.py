"""Variables that a claim lacks."""

from random import Random

import pytest

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import Unreachable, Unreadable
from rochallor_worker.execution.variables import load_variables
from unit.worker.engines import FaultyEngine, definition, loop_time

pytestmark = pytest.mark.looptime


async def bare_job(engine: FaultyEngine) -> ClaimedJob:
    await engine.upload_definition(definition("a"))
    instance = await engine.start_instance("d", {"n": 7})
    return ClaimedJob(id="j", instance_id=instance.id, job_type="a", variables=None)


async def test_missing_variables_are_read_from_the_instance() -> None:
    engine = FaultyEngine()
    assert await load_variables(engine, await bare_job(engine), 29, loop_time, Random()) == {"n": 7}


async def test_variables_of_the_claim_are_used_as_they_are() -> None:
    engine = FaultyEngine()
    job = ClaimedJob(id="j", instance_id="i", job_type="a", variables={})
    assert await load_variables(engine, job, 29, loop_time, Random()) == {}
    assert engine.calls == []


async def test_reading_is_retried_through_an_outage_inside_the_lease() -> None:
    engine = FaultyEngine()
    job = await bare_job(engine)
    engine.before = lambda name, number: Unreachable("refused") if number < 5 else None
    assert await load_variables(engine, job, 29, loop_time, Random()) == {"n": 7}


async def test_after_the_deadline_there_are_none() -> None:
    engine = FaultyEngine()
    job = await bare_job(engine)
    engine.before = lambda *_: Unreachable("refused")
    assert await load_variables(engine, job, 29, loop_time, Random()) is None
    assert 26 < loop_time() < 29


async def test_a_job_of_an_unknown_instance_is_left_to_its_lease() -> None:
    job = ClaimedJob(id="j", instance_id="unknown", job_type="a", variables=None)
    assert await load_variables(FaultyEngine(), job, 29, loop_time, Random()) is None


async def test_an_unreadable_answer_is_not_requested_again() -> None:
    engine = FaultyEngine()
    job = await bare_job(engine)
    engine.before = lambda *_: Unreadable("more levels than gRPC carries")
    assert await load_variables(engine, job, 29, loop_time, Random()) is None
    assert engine.count("get_instance") == 1
