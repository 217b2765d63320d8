"""What is down costs no instance: breakers, limits and postponed jobs in whole workers, on the virtual clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from rochallor_worker import Breaker, InstanceStatus, Job, Postpone, Registry, Runner
from rochallor_worker.events import Event, Parked, Reported
from rochallor_worker.execution.gates import DOUBT_SECONDS
from unit.worker.engines import FaultyEngine, Fleet, definition, loop_time
from unit.worker.running import finished, nothing, running, start, sweeping

pytestmark = pytest.mark.looptime

COMPLETED, FAILED = InstanceStatus.COMPLETED, InstanceStatus.FAILED


class Dependency:
    """What a handler needs: down until so many seconds have passed on the loop's clock."""

    def __init__(self, until: float, seconds: float = 0.05) -> None:
        self.until = until
        self.seconds = seconds

    async def call(self, _: Job) -> None:
        await asyncio.sleep(self.seconds)
        if loop_time() < self.until:
            raise ConnectionError("the dependency does not answer")


async def until(condition: Any, within: float = 600) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 — on the virtual clock
            await asyncio.sleep(0.1)


@asynccontextmanager
async def workers(engine: FaultyEngine, registry: Registry, count: int, **options: Any) -> AsyncIterator[list[Event]]:
    events: list[Event] = []
    async with AsyncExitStack() as stack:
        for _ in range(count):
            runner, _ = await stack.enter_async_context(running(engine, registry, **options))
            runner.observers.append(events.append)
        yield events


def spent(events: list[Event]) -> int:
    """How many retries were spent."""
    return sum(isinstance(event, Reported) and event.outcome == "failed_retryable" for event in events)


@pytest.mark.parametrize("fleet", ["A", "C", "D"])
@pytest.mark.parametrize(("count", "parallelism"), [(1, 64), (1, 4), (2, 64), (3, 8)])
async def test_no_instance_fails_while_a_dependency_is_down(fleet: Fleet, count: int, parallelism: int) -> None:
    engine, dependency, registry = FaultyEngine(fleet=fleet), Dependency(until=180), Registry()
    registry.handler("a")(dependency.call)
    await start(engine, "a", count=200, retries=1)
    async with workers(engine, registry, count, parallelism=parallelism) as events, sweeping(engine):
        await until(lambda: finished(engine, COMPLETED) + finished(engine, FAILED) == 200)
    assert finished(engine, FAILED) == 0
    assert spent(events) <= count * 20
    assert loop_time() < 180 + 90


async def test_without_a_breaker_many_do() -> None:
    engine, dependency, registry = FaultyEngine(), Dependency(until=180), Registry()
    registry.handler("a", breaker=None)(dependency.call)
    await start(engine, "a", count=200, retries=1)
    async with workers(engine, registry, 1):
        await until(lambda: finished(engine, FAILED) == 200)
    assert loop_time() < 10


async def test_a_job_that_is_at_fault_itself_fails_at_once_beside_others_that_succeed() -> None:
    engine, registry = FaultyEngine(), Registry()

    @registry.handler("a")
    async def one_of_ten(job: Job) -> None:
        await asyncio.sleep(0.01)
        if job.variables["n"] % 10 == 0:
            raise ValueError("no such customer")

    await start(engine, "a", count=300)
    async with workers(engine, registry, 1, parallelism=8) as events:
        await until(lambda: finished(engine, COMPLETED) + finished(engine, FAILED) == 300)
    assert finished(engine, FAILED) == 30
    assert not any(isinstance(event, Parked) for event in events)
    assert loop_time() < 5


async def test_a_single_failure_is_reported_after_a_moment() -> None:
    engine, registry = FaultyEngine(), Registry()
    registry.handler("a")(Dependency(until=1e9, seconds=0.5).call)
    await start(engine, "a")
    async with workers(engine, registry, 1):
        await until(lambda: finished(engine, FAILED))
    assert 0.5 + DOUBT_SECONDS <= loop_time() < 0.5 + DOUBT_SECONDS + 0.3


async def test_while_the_breaker_is_open_the_type_is_not_asked_for_and_others_are() -> None:
    engine, dependency, registry = FaultyEngine(), Dependency(until=100), Registry()
    registry.handler("a", breaker=Breaker(failures=3))(dependency.call)
    registry.handler("b")(nothing)
    await start(engine, "a", count=50, retries=5)
    async with running(engine, registry) as (runner, events):
        await until(lambda: runner.gates["a"].circuit.open)
        assert runner.notice.startswith("BreakerOpen: runs of a fail one after another: ConnectionError: ")
        assert runner.problem is None
        await start(engine, "b", count=10)
        await until(lambda: finished(engine, COMPLETED) == 10, within=5)
        await until(lambda: loop_time() > 60)
        claimed = [job for job in engine.state.jobs.values() if job.status == "LOCKED"]
        assert len(claimed) == runner.gates["a"].parked + runner.slots.busy <= 60
        await until(lambda: finished(engine, COMPLETED) == 60)
        assert runner.notice == ""
    assert spent(events) <= 3


async def test_a_postponed_job_runs_again_and_spends_no_retry_and_no_slot() -> None:
    engine, registry, begun = FaultyEngine(), Registry(), []

    @registry.handler("a")
    async def later(job: Job) -> None:
        begun.append((loop_time(), job.retries_remaining, job.attempt))
        if len(begun) < 3:
            raise Postpone(after=60)

    registry.handler("b")(nothing)
    await start(engine, "a", retries=1)
    async with running(engine, registry, parallelism=1) as (runner, events), sweeping(engine):
        await until(lambda: len(begun) == 1)
        await start(engine, "b", count=5)
        await until(lambda: finished(engine, COMPLETED) == 5, within=10)
        await until(lambda: finished(engine, COMPLETED) == 6)
        assert runner.gates["a"].parked == 0
        assert not runner.unhealthy
    assert [(retries, attempt) for _, retries, attempt in begun] == [(1, 1)] * 3
    first, second, third = (at for at, _, _ in begun)
    assert 60 <= second - first < 61
    assert 60 <= third - second < 61
    assert spent(events) == 0


async def test_where_leases_cannot_be_renewed_a_postponed_job_is_left_to_its_lease() -> None:
    engine, registry, begun = FaultyEngine(fleet="C"), Registry(), []

    @registry.handler("a")
    async def later(job: Job) -> None:
        begun.append(loop_time())
        if len(begun) == 1:
            raise Postpone(after=60)

    await start(engine, "a")
    async with running(engine, registry) as (runner, _), sweeping(engine):
        await until(lambda: runner.gates["a"].parked == 1)
        await until(lambda: runner.gates["a"].parked == 0)
        assert loop_time() < 30
        await until(lambda: finished(engine, COMPLETED) == 1)
    assert 30 <= begun[1] - begun[0] < 50


async def test_a_drain_gives_postponed_jobs_up_at_once() -> None:
    engine, registry = FaultyEngine(), Registry()

    @registry.handler("a")
    async def later(_: Job) -> None:
        raise Postpone(after=3600)

    await start(engine, "a", count=10, retries=1)
    runner = Runner(engine, registry, worker_id="w", clock=loop_time)
    task = asyncio.create_task(runner.run())
    await until(lambda: runner.gates["a"].parked == 10)
    stopped_at = loop_time()
    runner.stop()
    assert await task == []
    assert loop_time() - stopped_at < 1
    assert engine.count("fail_job") == 0


async def test_jobs_of_a_type_never_exceed_its_limit() -> None:
    engine, registry = FaultyEngine(), Registry()
    now, most = 0, 0

    @registry.handler("a", limit=3)
    async def counted(_: Job) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.1)
        now -= 1

    registry.handler("b")(nothing)
    await start(engine, "a", count=60)
    async with running(engine, registry) as (runner, _):
        claimed = 0
        while finished(engine, COMPLETED) < 60:
            claimed = max(claimed, runner.slots.busy)
            await asyncio.sleep(0.01)
    assert most == claimed == 3
    assert loop_time() < 60 / 3 * 0.1 * 1.2


async def test_a_rate_is_kept_to_and_used() -> None:
    engine, registry = FaultyEngine(), Registry()
    registry.handler("a", per_second=30)(nothing)
    await start(engine, "a", count=900)
    async with running(engine, registry):
        await until(lambda: loop_time() > 20)
        assert 580 <= finished(engine, COMPLETED) <= 632


async def test_a_flood_of_one_type_does_not_hold_up_another() -> None:
    engine, registry, waits = FaultyEngine(), Registry(), []

    async def slow(_: Job) -> None:
        await asyncio.sleep(0.2)

    @registry.handler("b")
    async def other(job: Job) -> None:
        waits.append(loop_time() - job.variables["at"])

    registry.handler("a")(slow)
    await start(engine, "a", count=10_000)
    await engine.upload_definition({**definition("b"), "id": "other"})
    async with running(engine, registry):
        for _ in range(100):
            await asyncio.sleep(0.1)
            await engine.start_instance("other", {"at": loop_time()})
        await until(lambda: len(waits) == 100, within=5)
    assert sorted(waits)[95] < 1


async def test_bad_jobs_do_not_keep_a_breaker_open_while_good_ones_wait() -> None:
    engine, registry = FaultyEngine(), Registry()

    @registry.handler("a", breaker=Breaker(failures=5))
    async def picky(job: Job) -> None:
        await asyncio.sleep(0.05)
        if job.variables["n"] < 8:
            raise ValueError("no such customer")

    await start(engine, "a", count=18, retries=3)
    async with workers(engine, registry, 1, parallelism=8):
        await until(lambda: finished(engine, COMPLETED) == 10, within=60)


async def test_a_run_that_fails_while_the_breaker_is_open_is_no_failure_in_the_log(
    logged: list[dict[str, Any]],
) -> None:
    engine, registry = FaultyEngine(), Registry()
    registry.handler("a", breaker=Breaker(failures=3))(Dependency(until=20).call)
    await start(engine, "a", count=10)
    async with workers(engine, registry, 1):
        await until(lambda: finished(engine, COMPLETED) == 10)
    events = [line["event"] for line in logged]
    assert not [event for event in events if event.startswith("a run failed")]
    assert events.count("the breaker has opened: runs fail one after another; the jobs wait and lose no retry") == 1
    parked = [line for line in logged if line["event"] == "postponed until its job type has room"]
    assert len(parked) >= 10
    assert all(line["reason"].startswith("the breaker of the job type is open") for line in parked)


async def test_as_many_parked_jobs_as_there_may_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rochallor_worker.execution.gates.MAX_PARKED", 30)
    engine, registry, seen = FaultyEngine(), Registry(), set()

    @registry.handler("a")
    async def later(job: Job) -> None:
        if job.variables["n"] not in seen:
            seen.add(job.variables["n"])
            raise Postpone(after=20)

    await start(engine, "a", count=60)
    async with running(engine, registry), sweeping(engine):
        await until(lambda: finished(engine, COMPLETED) == 60, within=100)


async def test_parked_jobs_that_are_postponed_for_ever_leave_slots_to_jobs_of_other_types() -> None:
    engine, registry, waits = FaultyEngine(), Registry(), []

    @registry.handler("a")
    async def never(_: Job) -> None:
        await asyncio.sleep(0.5)
        raise Postpone(after=5)

    @registry.handler("b")
    async def other(job: Job) -> None:
        waits.append(loop_time() - job.variables["at"])

    await start(engine, "a", count=100)
    await engine.upload_definition({**definition("b"), "id": "other"})
    async with running(engine, registry, parallelism=8) as (runner, _), sweeping(engine):
        await until(lambda: runner.gates["a"].parked > 80, within=60)
        for _ in range(20):
            await engine.start_instance("other", {"at": loop_time()})
            await asyncio.sleep(2)
        assert len(waits) == 20
    assert max(waits) < 5
