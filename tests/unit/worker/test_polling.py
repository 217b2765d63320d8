"""When the polling source polls, on a virtual clock."""

import asyncio
import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from rochallor_worker.execution.gates import Gate, Permit
from rochallor_worker.execution.lease import MARGIN
from rochallor_worker.handlers.breaker import Breaker
from rochallor_worker.handlers.limits import Limits
from rochallor_worker.source.base import Delivery
from rochallor_worker.source.polling import MIN_GAP, OUTAGE_WAIT_CAP, UNHEALTHY_AFTER, PollingSource
from unit.worker.engines import FaultyEngine, definition, gates_of, loop_time, unused

pytestmark = pytest.mark.looptime

INTERVAL = 0.5


def source_of(
    engine: FaultyEngine, events: list[Event] | None = None, gates: dict[str, Gate] | None = None
) -> PollingSource:
    return PollingSource(
        engine,
        "w",
        gates_of("a") if gates is None else gates,
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
    return len(await source.take(count, unused))


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
    [delivery] = await source.take(2, unused)
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
    [delivery] = await source.take(2, unused)
    polling = asyncio.create_task(source.take(2, unused))
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
    [delivery] = await source.take(2, unused)
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
    [delivery] = await source.take(1, unused)
    assert loop_time() == pytest.approx(7)
    assert delivery.lease is not None
    assert delivery.lease.deadline == pytest.approx(30 - MARGIN)


async def test_at_most_one_hundred_jobs_are_asked_for() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    await start(engine, 150)
    assert len(await source.take(150, unused)) == 100


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
    assert await source.take(10, unused) == []
    engine.before = lambda *_: None
    assert [len(await source.take(10, unused)), len(await source.take(10, unused))] == [1, 10]


async def test_during_an_outage_an_accepted_outcome_ends_the_wait() -> None:
    engine = FaultyEngine()
    source = source_of(engine)
    await start(engine, 1)
    [delivery] = await source.take(2, unused)
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


class Watched(FaultyEngine):
    """Notes which types are asked for, and for how many jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []

    async def poll_jobs(
        self, worker_id: str, job_types: Sequence[str], max_jobs: int, lease: float | None = None
    ) -> Any:
        self.asked.append((" ".join(job_types), max_jobs))
        return await super().poll_jobs(worker_id, job_types, max_jobs, lease)

    async def fill(self, job_type: str, instances: int) -> None:
        await self.upload_definition(definition(job_type))
        for _ in range(instances):
            await self.start_instance("d")


def begin(gates: dict[str, Gate], deliveries: list[Delivery]) -> list[Permit]:
    permits = [gates[delivery.job.job_type].enter() for delivery in deliveries]
    assert all(permit.begin() for permit in permits)
    return permits


async def take(source: PollingSource, count: int = 10) -> list[Delivery]:
    await source.ready()
    return await source.take(count, unused)


async def test_a_type_at_its_limit_is_not_asked_for_until_one_of_its_jobs_has_ended() -> None:
    engine, gates = Watched(), {**gates_of("a", limits=Limits(parallelism=2)), **gates_of("b")}
    source = source_of(engine, gates=gates)
    await engine.fill("a", 10)
    [first, second] = begin(gates, await take(source))
    assert engine.asked == [("a b", 2)]
    for _ in range(20):
        assert await take(source) == []
    assert set(engine.asked[1:]) == {("b", 10)}
    with first:
        pass
    before = loop_time()
    engine.asked.clear()
    [third] = begin(gates, await take(source))
    assert loop_time() <= before + MIN_GAP + 1e-6  # it is backlogged, so it is not waited for
    assert engine.asked == [("a", 1)]
    for permit in (second, third):
        with permit:
            pass
    assert gates["a"].room == 2


async def test_with_no_room_at_all_nothing_is_asked_for_and_the_wait_ends_when_a_job_does() -> None:
    """Tokens there are, so time alone does not open the gate: the wait must not end at once, again and again."""
    engine, gates = Watched(), gates_of("a", limits=Limits(parallelism=1, per_second=10))
    source = source_of(engine, gates=gates)
    await engine.fill("a", 3)
    await asyncio.sleep(5)
    [permit] = begin(gates, await take(source))
    waiting = asyncio.create_task(take(source))
    await asyncio.sleep(5)
    assert not waiting.done()
    assert len(engine.asked) == 1
    with permit:
        pass
    assert len(await waiting) == 1
    assert loop_time() == 10


async def test_a_rate_of_thirty_a_second_is_kept_and_used() -> None:
    engine, gates = Watched(), gates_of("a", "b", limits=Limits(per_second=30))
    source = source_of(engine, gates=gates)
    await engine.fill("a", 600)
    begun: list[float] = []
    while loop_time() < 10:
        for permit in begin(gates, await take(source, 64)):
            with permit:
                begun.append(loop_time())
    assert 297 <= len(begun) <= 302
    assert max(later - earlier for earlier, later in pairwise(begun)) <= 2 / 30
    assert all(later - earlier >= 1 - 0.01 for earlier, later in zip(begun, begun[61:], strict=False))


async def test_after_a_pause_no_more_begin_at_once_than_those_of_a_second() -> None:
    engine, gates = Watched(), gates_of("a", limits=Limits(per_second=30))
    source = source_of(engine, gates=gates)
    while loop_time() < 100:
        await take(source)
    await engine.fill("a", 600)
    began, count = loop_time(), 0
    while loop_time() < began + INTERVAL * 2:
        count += len(begin(gates, await take(source, 64)))
    assert count <= 30 + 30 * INTERVAL * 2 + 1


async def test_an_idle_source_with_limits_polls_at_most_once_an_interval() -> None:
    engine = Watched()
    limits = Limits(parallelism=3, per_second=1000, breaker=Breaker(failures=1))
    source = source_of(engine, gates={**gates_of("a", limits=limits), **gates_of("b"), **gates_of("c", limits=limits)})
    while loop_time() < 100:
        await take(source)
    settled = [at for at in engine.times("poll_jobs") if at > 10]
    assert min(later - earlier for earlier, later in pairwise(settled)) >= INTERVAL
    assert {asked for asked, _ in engine.asked} == {"a b c"}


async def test_while_a_breaker_is_open_a_probe_is_asked_for_when_it_may_begin() -> None:
    engine, gates = Watched(), gates_of("a", limits=Limits(breaker=Breaker(failures=1)))
    source = source_of(engine, gates=gates)
    await engine.fill("a", 20)
    [failing] = begin(gates, await take(source, 1))
    with failing:
        failing.failed("no")
    began = loop_time()
    for pauses in (1, 3, 7):
        [probe] = begin(gates, await take(source))
        assert loop_time() == pytest.approx(began + pauses, abs=0.002)
        with probe:
            probe.failed("no")
    assert engine.asked == [("a", 1)] * 4
    [probe] = begin(gates, await take(source))
    with probe:
        probe.succeeded()
    assert len(await take(source)) == 10


async def test_a_flood_of_one_type_keeps_another_one_waiting_for_a_moment_at_most() -> None:
    engine, gates = Watched(), gates_of("a", "b")
    source = source_of(engine, gates=gates)
    await engine.fill("a", 1000)
    waits: list[float] = []
    came = math.inf
    for number in range(60):
        if number % 20 == 10:
            await engine.fill("b", 1)
            came = loop_time()
        waits += [loop_time() - came for delivery in await take(source, 10) if delivery.job.job_type == "b"]
        await asyncio.sleep(0.02)
    assert len(waits) == 3
    assert max(waits) < 0.2


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 8))
async def test_never_more_is_claimed_than_there_are_slots_and_room(seed: int, slots: int) -> None:
    random = Random(seed)
    engine = Watched()
    gates = {
        **gates_of("a", limits=Limits(parallelism=2)),
        **gates_of("b", limits=Limits(per_second=5, breaker=Breaker(failures=2))),
        **gates_of("c"),
    }
    source = source_of(engine, gates=gates)
    running: list[tuple[str, Permit]] = []
    for job_type in "abc":
        await engine.fill(job_type, 30)
    for _ in range(60):
        if (free := slots - len(running)) and any(gate.room for gate in gates.values()):
            found = await take(source, free)
            assert len(found) <= free
            for delivery in found:
                permit = gates[delivery.job.job_type].enter()
                permit.begin()
                running.append((delivery.job.job_type, permit))
        assert sum(job_type == "a" for job_type, _ in running) <= 2
        await asyncio.sleep(random.choice([0, 0.1, 1]))
        while running and random.random() < 0.5:
            _, permit = running.pop(random.randrange(len(running)))
            with permit:
                if random.random() < 0.4:
                    permit.failed("no")
                elif random.random() < 0.5:
                    permit.succeeded()
    assert engine.state.jobs
