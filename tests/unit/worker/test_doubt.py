"""A failure that would end its instance waits for others of its type, however slowly they fail."""

import asyncio

import pytest

from rochallor_worker import InstanceStatus, Job, Postpone, Registry
from unit.worker.engines import FaultyEngine, Fleet, loop_time
from unit.worker.running import finished, running, start, sweeping
from waiting import until

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("limit", [None, 4])
@pytest.mark.parametrize("parallelism", [4, 16])
@pytest.mark.parametrize("seconds", [0.3, 2.0])
@pytest.mark.parametrize(("fleet", "count"), [("A", 100), ("D", 14)])
async def test_slow_failures_in_few_slots_open_the_breaker_before_an_instance_fails(
    fleet: Fleet, count: int, seconds: float, parallelism: int, limit: int | None
) -> None:
    engine, registry = FaultyEngine(fleet=fleet), Registry()

    @registry.handler("a", limit=limit)
    async def call(_: Job) -> None:
        await asyncio.sleep(seconds)
        if loop_time() < 180:
            raise ConnectionError("the dependency does not answer")

    await start(engine, "a", count=count, retries=1)
    async with running(engine, registry, parallelism=parallelism), sweeping(engine):
        await until(lambda: not any(instance.live for instance in engine.state.instances.values()), 600, 1)
    assert finished(engine, InstanceStatus.FAILED) == 0


@pytest.mark.parametrize("beside", [0.0, 5.0])
async def test_a_job_alone_with_its_failure_ends_soon(beside: float) -> None:
    engine, registry = FaultyEngine(), Registry()

    @registry.handler("a")
    async def call(job: Job) -> None:
        if job.variables["n"] == 1:
            await asyncio.sleep(beside)
            return
        raise ValueError("the job's own fault")

    await start(engine, "a", count=2 if beside else 1)
    async with running(engine, registry):
        await until(lambda: finished(engine, InstanceStatus.FAILED), every=0.1)
    assert 1 <= loop_time() <= beside + 2.5


@pytest.mark.parametrize("fleet", ["A", "C", "D"])
@pytest.mark.parametrize("after", [1.0, 20.0])
async def test_a_postponed_job_is_not_run_again_at_the_end_of_a_lease_that_cannot_be_renewed(
    fleet: Fleet, after: float
) -> None:
    engine, registry, runs = FaultyEngine(fleet=fleet), Registry(), 0

    @registry.handler("a")
    async def call(_: Job) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise Postpone(after=after)
        await asyncio.sleep(15)

    await start(engine, "a")
    async with running(engine, registry), sweeping(engine):
        await until(lambda: not any(instance.live for instance in engine.state.instances.values()), 600, 1)
    assert (finished(engine, InstanceStatus.COMPLETED), runs) == (1, 2)
