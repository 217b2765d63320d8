"""What the probe finds out about each kind of engine, and what it leaves there."""

import asyncio
from dataclasses import replace

import pytest

from rochallor_worker.devengine import Fault
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.doctor.facts import Answer, Facts
from rochallor_worker.doctor.probe import observe, probe
from rochallor_worker.errors import EngineError, InternalError
from unit.worker.engines import Fleet

YES, NO, MIXED, UNKNOWN = Answer.YES, Answer.NO, Answer.MIXED, Answer.UNKNOWN


def engine_of(fleet: Fleet, skew: float = 0) -> FakeEngine:
    state = EngineState(generation="A" if fleet == "A" else "fenced", heartbeat=fleet != "C", skew=skew)
    state.rolling = fleet == "rolling"
    return FakeEngine(state)


@pytest.mark.parametrize(
    ("fleet", "fenced", "renewable", "retry_step"),
    [("A", NO, NO, NO), ("C", YES, NO, YES), ("D", YES, YES, YES), ("rolling", MIXED, MIXED, MIXED)],
)
async def test_what_is_found_without_a_trace(
    fleet: Fleet, fenced: Answer, renewable: Answer, retry_step: Answer
) -> None:
    engine = engine_of(fleet)
    assert await observe(engine, "nobody") == Facts(NO, fenced, renewable, retry_step)
    assert not engine.state.instances
    assert engine.state.definitions.list() == ([], 0)
    assert engine.state.log == []


FENCED = Facts(
    kafka=NO,
    fenced=YES,
    renewable=NO,
    retry_step=YES,
    tried=True,
    lease_on_request=NO,
    stable_key=YES,
    new_id_per_attempt=YES,
    schemas=YES,
    unique_business_keys=YES,
    variables_in_claims=YES,
)
UNFENCED = replace(FENCED, fenced=NO, retry_step=NO, new_id_per_attempt=NO, schemas=NO, unique_business_keys=NO)


@pytest.mark.parametrize(
    ("fleet", "found"),
    [("A", UNFENCED), ("C", FENCED), ("D", replace(FENCED, renewable=YES, lease_on_request=YES))],
)
@pytest.mark.parametrize("skew", [0.0, -3.0, 60.0])
async def test_what_an_instance_shows(fleet: Fleet, found: Facts, skew: float) -> None:
    engine = engine_of(fleet, skew)
    facts = await probe(engine, "probe")
    assert facts.clock_skew == pytest.approx(skew, abs=0.01)
    assert facts.lease == pytest.approx(30 + skew, abs=0.01)
    assert replace(facts, lease=0.0, clock_skew=None) == found
    assert [instance.status for instance in engine.state.instances.values()] == ["COMPLETED"]


async def test_each_probe_has_a_job_type_of_its_own() -> None:
    engine = engine_of("D")
    await asyncio.gather(*(probe(engine, "probe") for _ in range(5)))
    assert {instance.status for instance in engine.state.instances.values()} == {"COMPLETED"}
    assert engine.state.definitions.get("probe").version == 5


async def test_no_instance_where_its_topic_would_be_missing() -> None:
    engine = engine_of("D")
    engine.state.dispatch_mode = "kafka_outbox"
    facts = await probe(engine, "probe")
    assert (facts.kafka, facts.tried) == (YES, False)
    assert not engine.state.instances
    assert engine.state.definitions.list() == ([], 0)


async def test_an_error_is_not_an_answer() -> None:
    engine = engine_of("D")
    engine.faults.next("extend_lease", Fault(times=0, answer="error"))
    with pytest.raises(InternalError):
        await observe(engine, "nobody")


async def test_a_probe_that_fails_leaves_nothing_running() -> None:
    engine = engine_of("D")
    engine.faults.always("complete_job", Fault(times=0, answer="error"))
    with pytest.raises(EngineError):
        await probe(engine, "probe")
    assert [instance.status for instance in engine.state.instances.values()] == ["CANCELLED"]


async def test_a_mixed_fleet_is_recognised_and_left_clean() -> None:
    engine = engine_of("rolling")
    assert (await probe(engine, "probe")).mixed
    assert all(not instance.live for instance in engine.state.instances.values())
