"""When the polling source polls, on a virtual clock."""

import asyncio
from itertools import pairwise
from random import Random

import pytest

from rochallor_worker.errors import (
    AnswerLost,
    DispatchMismatch,
    EngineError,
    InternalError,
    Rejected,
    TurnedAway,
    Unreachable,
    Unreadable,
)
from rochallor_worker.events import Event, Polled
from rochallor_worker.execution.lease import MARGIN
from rochallor_worker.source.polling import MIN_GAP, OUTAGE_WAIT_CAP, UNHEALTHY_AFTER, PollingSource
from unit.worker.engines import FaultyEngine, definition, gates_of, loop_time

pytestmark = pytest.mark.looptime

INTERVAL = 0.5


def source_of(engine: FaultyEngine, events: list[Event] | None = None) -> PollingSource:
    return PollingSource(
        engine,
        "w",
        gates_of("a"),
        poll_interval=INTERVAL,
        lease=30,
        observer=(events if events is not None else []).append,
        clock=loop_time,
        random=Random(1),  # the number of polls in an outage is bounded on average, not in every run
    )


def problem_of(source: PollingSource) -> str:
    return "" if source.problem is None else ": ".join(source.problem)


async def poll(source: PollingSource, count: int = 10) -> int:
    await source.ready()
    return len(await source.take(count))


async def start(engine: FaultyEngine, instances: int) -> None:
    await engine.upload_definition(definition("a"))
    for _ in range(instances):
        await engine.start_instance("d")


async def test_an_idle_source_polls_at_most_once_an_interval() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    while loop_time() < 100:
        await poll(source)
    settled = [at for at in engine.times("poll_jobs") if at > 10]
    gaps = [later - earlier for earlier, later in pairwise(settled)]
    assert min(gaps) >= INTERVAL
    assert max(gaps) <= INTERVAL * 1.11


async def test_after_activity_the_waits_grow_from_ten_milliseconds() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    await start(engine, 1)
    assert await poll(source) == 1
    for _ in range(3):
        await poll(source)
    first, second, third = (b - a for a, b in pairwise(engine.times("poll_jobs")))
    assert 0.01 <= first <= 0.011
    assert first < second < third


async def test_a_full_answer_is_followed_by_a_poll_at_once() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    await start(engine, 25)
    assert [await poll(source), await poll(source), await poll(source)] == [10, 10, 5]
    assert loop_time() == pytest.approx(2 * MIN_GAP)


async def test_an_accepted_outcome_brings_the_next_poll_forward() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    await start(engine, 1)
    await source.ready()
    [delivery] = await source.take(2)
    while loop_time() < 10:
        await poll(source)
    waiting = asyncio.create_task(source.ready())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    delivery.settle("accepted")
    await waiting
    assert loop_time() - engine.times("poll_jobs")[-1] == pytest.approx(0.1)


async def test_an_outcome_accepted_during_a_poll_is_not_forgotten() -> None:
    engine = FaultyEngine(after=lambda name, number: 0.2 if (name, number) == ("poll_jobs", 1) else None)
    source = source_of(engine)
    await start(engine, 1)
    [delivery] = await source.take(2)
    polling = asyncio.create_task(source.take(2))
    await asyncio.sleep(0.1)
    delivery.settle("accepted")
    await polling
    answered_at = loop_time()
    await source.ready()
    assert loop_time() - answered_at == pytest.approx(MIN_GAP)


async def test_an_outcome_that_was_not_accepted_changes_nothing() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    await start(engine, 1)
    [delivery] = await source.take(2)
    while loop_time() < 10:
        await poll(source)
    before = loop_time()
    delivery.settle("abandoned")
    await source.ready()
    assert loop_time() - before > 0.4


async def test_the_deadline_counts_from_before_the_request() -> None:
    engine = FaultyEngine(after=lambda name, _: 7.0 if name == "poll_jobs" else None)
    source = source_of(engine)
    await start(engine, 1)
    [delivery] = await source.take(1)
    assert loop_time() == pytest.approx(7)
    assert delivery.lease is not None
    assert delivery.lease.deadline == pytest.approx(30 - MARGIN)


async def test_at_most_one_hundred_jobs_are_asked_for() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    await start(engine, 150)
    assert len(await source.take(150)) == 100


async def test_an_outage_is_polled_with_growing_waits_and_is_a_problem_once_it_lasts() -> None:
    engine = FaultyEngine()
    events: list[Event] = []
    source = source_of(engine, events)
    assert problem_of(source) == "Starting: the engine has not answered the first poll yet"
    await poll(source)
    assert problem_of(source) == ""
    engine.before = lambda *_: Unreachable("cannot connect")
    began = loop_time()
    await poll(source)
    assert problem_of(source) == ""
    while loop_time() < began + 600:
        await poll(source)
    assert problem_of(source) == "EngineUnreachable: cannot connect"
    failures = [at for at in engine.times("poll_jobs") if at > began + UNHEALTHY_AFTER]
    assert len(failures) < 600 / OUTAGE_WAIT_CAP * 4
    assert max(b - a for a, b in pairwise(failures)) <= OUTAGE_WAIT_CAP + 1e-6
    assert any(event == Polled("error", 0) for event in events)
    engine.before = lambda *_: None
    await poll(source)
    assert problem_of(source) == ""


async def test_an_outage_is_logged_once_a_minute_and_its_end_once(logged: list[dict[str, object]]) -> None:
    engine = FaultyEngine(before=lambda *_: Unreachable("cannot connect"))
    source = source_of(engine)
    times = []
    while loop_time() < 600:
        before = len(logged)
        await poll(source)
        times += [engine.times("poll_jobs")[-1]] * (len(logged) - before)
    assert {entry["error"] for entry in logged} == {"cannot connect"}
    assert all(60 <= later - earlier <= 60 + OUTAGE_WAIT_CAP for earlier, later in pairwise(times))
    assert len(times) > 5
    engine.before = lambda *_: None
    await poll(source)
    assert logged[-1]["event"] == "the engine answers polls again"
    engine.before = lambda *_: Unreachable("refused")
    await poll(source)
    assert logged[-1]["error"] == "refused"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unreachable("cannot connect"), "EngineUnreachable"),
        (AnswerLost("no answer in time"), "EngineUnreachable"),
        (InternalError("502"), "EngineUnreachable"),
        (TurnedAway("401"), "EngineRefuses"),
        (Unreadable("a page"), "EngineRefuses"),
        (Rejected("400 no"), "EngineRefuses"),
    ],
)
async def test_an_engine_that_refuses_is_distinguished_from_an_outage(error: EngineError, reason: str) -> None:
    engine = FaultyEngine(before=lambda *_: error)
    source = source_of(engine)
    await poll(source)
    assert problem_of(source) == f"{reason}: {error}"


async def test_while_polls_fail_one_job_is_asked_for_and_then_all_again() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    await start(engine, 20)
    engine.before = lambda *_: Unreachable("cannot connect")
    assert await source.take(10) == []
    engine.before = lambda *_: None
    assert [len(await source.take(10)), len(await source.take(10))] == [1, 10]


async def test_during_an_outage_an_accepted_outcome_ends_the_wait() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    await start(engine, 1)
    [delivery] = await source.take(2)
    engine.before = lambda *_: Unreachable("cannot connect")
    while loop_time() < 100:
        await poll(source)
    engine.before = lambda *_: None
    delivery.settle("accepted")
    before = loop_time()
    await poll(source)
    assert loop_time() - before <= MIN_GAP + 1e-6
    assert problem_of(source) == ""


async def test_a_mismatch_is_one_log_line_and_one_poll_per_half_minute(logged: list[dict[str, object]]) -> None:
    engine = FaultyEngine(before=lambda *_: DispatchMismatch("poll path disabled"))
    events: list[Event] = []
    source = source_of(engine, events)
    while loop_time() < 95:
        await poll(source)
    assert engine.times("poll_jobs") == pytest.approx([0, 30, 60, 90, 120])
    assert problem_of(source).startswith("TransportMismatch: transport mismatch")
    assert [entry["log_level"] for entry in logged] == ["error"]
    assert set(events) == {Polled("mismatch", 0)}


async def test_close_ends_the_wait() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    while loop_time() < 10:
        await poll(source)
    waiting = asyncio.create_task(source.ready())
    await asyncio.sleep(0.1)
    source.close()
    before = loop_time()
    await waiting
    assert loop_time() == before
