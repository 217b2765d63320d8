"""Variables that a claim did not carry."""

from random import Random

import pytest

from rochallor_worker.engine.base import ClaimedJob
from rochallor_worker.errors import Unreachable, Unreadable
from rochallor_worker.inputs import variables_of
from unit.worker.engines import FaultyEngine, definition, loop_time

pytestmark = pytest.mark.looptime


async def bare_job(engine: FaultyEngine) -> ClaimedJob:
    await engine.upload_definition(definition("a"))
    instance = await engine.start_instance("d", {"n": 7})
    return ClaimedJob(id="j", instance_id=instance.id, job_type="a", variables=None)


async def test_they_are_read_from_the_instance() -> None:
    engine = FaultyEngine()
    assert await variables_of(engine, await bare_job(engine), 29, loop_time, Random()) == {"n": 7}


async def test_what_the_claim_carried_is_taken_as_it_is() -> None:
    engine = FaultyEngine()
    job = ClaimedJob(id="j", instance_id="i", job_type="a", variables={})
    assert await variables_of(engine, job, 29, loop_time, Random()) == {}
    assert engine.calls == []


async def test_an_outage_is_waited_out_inside_the_lease() -> None:
    engine = FaultyEngine()
    job = await bare_job(engine)
    engine.before = lambda name, number: Unreachable("refused") if number < 5 else None
    assert await variables_of(engine, job, 29, loop_time, Random()) == {"n": 7}


async def test_after_the_deadline_there_are_none() -> None:
    engine = FaultyEngine()
    job = await bare_job(engine)
    engine.before = lambda *_: Unreachable("refused")
    assert await variables_of(engine, job, 29, loop_time, Random()) is None
    assert 26 < loop_time() < 29


async def test_an_instance_that_is_gone_leaves_the_job_to_its_lease() -> None:
    job = ClaimedJob(id="j", instance_id="gone", job_type="a", variables=None)
    assert await variables_of(FaultyEngine(), job, 29, loop_time, Random()) is None


async def test_what_cannot_be_read_is_not_asked_for_again() -> None:
    engine = FaultyEngine()
    job = await bare_job(engine)
    engine.before = lambda *_: Unreadable("more levels than gRPC carries")
    assert await variables_of(engine, job, 29, loop_time, Random()) is None
    assert engine.count("get_instance") == 1
