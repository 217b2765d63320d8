"""The whole job path against the shipped fake engine, on a virtual clock."""

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest

from rochallor_worker import InstanceStatus, Job, Registry, Runner, StartError
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import AnswerLost, Rejected, Unreachable
from rochallor_worker.events import ClaimExpired, Duplicate, Reported, TimedOut
from rochallor_worker.execution.runner import CANCEL_SECONDS
from unit.worker.engines import FaultyEngine, Fleet, loop_time, no_fault
from unit.worker.running import finished, nothing, registry_of, running, start
from waiting import until

looptime = pytest.mark.looptime


@looptime
async def test_an_instance_goes_through_its_steps_and_results_are_merged() -> None:
    engine = FaultyEngine()
    [instance_id] = await start(engine, "a", "b")

    async def a(job: Job) -> dict[str, Any]:
        return {"a": job.variables["n"] + 1}

    async def b(job: Job) -> dict[str, Any]:
        return {"b": job.variables["a"] + (await job.instance()).definition_version}

    async with running(engine, registry_of(a=a, b=b)):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert engine.state.instances[instance_id].variables == {"n": 0, "a": 1, "b": 2}


@looptime
async def test_steps_follow_each_other_without_waiting_for_the_poll_interval() -> None:
    engine = FaultyEngine()
    registry = registry_of(a=nothing, b=nothing, c=nothing)
    async with running(engine, registry, poll_interval=0.5):
        await asyncio.sleep(60)  # idle for long
        began = loop_time()
        await start(engine, "a", "b", "c")
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert loop_time() - began < 0.55 + 0.05


@looptime
async def test_never_more_jobs_are_claimed_than_slots_are_free_and_none_runs_twice() -> None:
    engine = FaultyEngine()
    await start(engine, "a", count=300)

    async def slow(_: Job) -> None:
        await asyncio.sleep(2)

    async with running(engine, registry_of(a=slow), parallelism=16) as (runner, _):
        most = 0

        def all_done() -> bool:
            nonlocal most
            most = max(most, sum(job.status == "LOCKED" for job in engine.state.jobs.values()))
            assert not runner.unhealthy
            return finished(engine, InstanceStatus.COMPLETED) == 300

        began = loop_time()
        await until(all_done)
    assert most == 16
    assert sum(event.kind == "claim" for event in engine.state.log) == 300
    assert loop_time() - began < 300 * 2 / 16 * 1.05


@looptime
async def test_a_claim_answered_too_late_is_not_started() -> None:
    engine = FaultyEngine(after=lambda name, number: 29.5 if (name, number) == ("poll_jobs", 0) else None)
    await start(engine, "a")
    runs = 0

    async def a(_: Job) -> None:
        nonlocal runs
        runs += 1

    async with running(engine, registry_of(a=a)) as (_, events):
        await until(lambda: ClaimExpired("a") in events)
        assert runs == 0
        await asyncio.sleep(1)
        engine.state.sweep()
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert runs == 1


@looptime
@pytest.mark.parametrize("fleet", ["A", "C"])
async def test_a_job_redelivered_while_it_runs_is_adopted_and_not_run_twice(fleet: Fleet) -> None:
    engine = FaultyEngine(lease=5, fleet=fleet)
    await start(engine, "a")
    runs = 0

    async def stubborn(_: Job) -> None:
        nonlocal runs
        runs += 1
        for _second in range(9):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue

    async with running(engine, registry_of(a=stubborn), lease=30) as (_, events):
        await asyncio.sleep(6)
        engine.state.sweep()
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert runs == 1
    assert Duplicate("a") in events


@looptime
@pytest.mark.parametrize("fleet", ["A", "C"])
async def test_a_handler_is_bounded_by_a_lease_that_cannot_be_renewed(fleet: Fleet) -> None:
    engine = FaultyEngine(fleet=fleet)
    await start(engine, "a")

    async def endless(_: Job) -> None:
        await asyncio.sleep(3600)

    async with running(engine, registry_of(a=endless)) as (_, events):
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1)
    assert TimedOut("a") in events
    assert loop_time() < 30


@looptime
async def test_retries_are_spent_only_by_the_handler_and_attempts_are_counted() -> None:
    engine = FaultyEngine()
    await start(engine, "a", retries=2)
    attempts: list[int] = []

    async def fails_twice(job: Job) -> None:
        attempts.append(job.attempt)
        if job.retries_remaining:
            raise ValueError("not yet")

    async with running(engine, registry_of(a=fails_twice)):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert attempts == [1, 2, 3]


@looptime
async def test_a_failure_without_retries_left_is_final() -> None:
    engine = FaultyEngine()
    await start(engine, "a", retries=1)

    async def fails(_: Job) -> None:
        raise ValueError("never")

    async with running(engine, registry_of(a=fails)) as (_, events):
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1)
    assert [event.outcome for event in events if isinstance(event, Reported)] == ["failed_retryable", "failed_final"]


@looptime
async def test_an_outage_under_load_loses_nothing_and_repeats_nothing() -> None:
    engine = FaultyEngine()
    await start(engine, "a", count=200)
    runs: list[str] = []

    async def a(job: Job) -> None:
        runs.append(job.id)
        await asyncio.sleep(1)

    async with running(engine, registry_of(a=a), parallelism=20) as (_, events):
        await asyncio.sleep(3.5)
        engine.before = lambda *_: Unreachable("refused")
        await asyncio.sleep(20)
        assert finished(engine, InstanceStatus.COMPLETED) < 100
        engine.before = no_fault
        back_at = loop_time()
        await until(lambda: len(set(runs)) > 100)
        assert loop_time() - back_at < 5
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 200)
    assert len(runs) == 200
    assert {event.verdict for event in events if isinstance(event, Reported)} == {"accepted"}


@looptime
async def test_stop_waits_for_the_poll_and_the_jobs_in_flight() -> None:
    engine = FaultyEngine(after=lambda name, _: 2.0 if name == "poll_jobs" else None)
    await start(engine, "a", count=3)

    async def a(_: Job) -> None:
        await asyncio.sleep(3)

    runner = Runner(engine, registry_of(a=a), worker_id="w", clock=loop_time)
    task = asyncio.create_task(runner.run())
    await asyncio.sleep(1)
    runner.stop()
    assert await task == []
    assert finished(engine, InstanceStatus.COMPLETED) == 3
    assert engine.count("poll_jobs") == 1
    assert loop_time() == pytest.approx(5, abs=0.1)


@looptime
async def test_stop_when_idle_is_immediate() -> None:
    engine = FaultyEngine()
    async with running(engine, registry_of(a=nothing), poll_interval=300):
        await asyncio.sleep(1000)
        stopping_at = loop_time()
    assert loop_time() == stopping_at


@looptime
async def test_at_the_drain_timeout_the_rest_is_cut_off_without_a_fail() -> None:
    engine = FaultyEngine()
    await start(engine, "a", count=2, retries=1)

    async def endless(_: Job) -> None:
        await asyncio.sleep(25)

    runner = Runner(engine, registry_of(a=endless), worker_id="w", clock=loop_time, drain_timeout=5)
    task = asyncio.create_task(runner.run())
    await asyncio.sleep(1)
    runner.stop()
    assert sorted(await task) == sorted(engine.state.jobs)
    assert loop_time() == pytest.approx(6, abs=0.1)
    assert engine.count("fail_job") == engine.count("complete_job") == 0
    assert {job.retries_remaining for job in engine.state.jobs.values()} == {1}


@looptime
async def test_a_handler_that_ignores_its_cancellation_cannot_delay_the_drain() -> None:
    engine = FaultyEngine()
    await start(engine, "a", retries=1)
    let_go = asyncio.Event()

    async def stubborn(_: Job) -> None:
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    runner = Runner(engine, registry_of(a=stubborn), worker_id="w", clock=loop_time, drain_timeout=5)
    task = asyncio.create_task(runner.run())
    await asyncio.sleep(1)
    runner.stop()
    assert await task == list(engine.state.jobs)
    assert loop_time() == pytest.approx(1 + 5 + CANCEL_SECONDS, abs=0.1)
    let_go.set()


async def test_a_sync_handler_can_see_that_it_is_cut_off() -> None:
    engine = FaultyEngine()
    await start(engine, "a", retries=1)
    begun, cancelled = threading.Event(), threading.Event()

    def waits(job: Job) -> None:
        begun.set()
        while not job.cancelled:
            time.sleep(0.01)
        cancelled.set()

    runner = Runner(engine, registry_of(a=waits), worker_id="w", drain_timeout=0)
    task = asyncio.create_task(runner.run())
    await asyncio.to_thread(begun.wait)
    runner.stop()
    await task
    assert await asyncio.to_thread(cancelled.wait, 30)


@looptime
async def test_a_result_that_is_refused_fails_the_job_permanently() -> None:
    """A lease that ends spends no retry, so it would be run and refused forever."""
    engine = FaultyEngine(before=lambda name, _: Rejected("413 too large") if name == "complete_job" else None)
    await start(engine, "a", retries=3)
    async with running(engine, registry_of(a=nothing)) as (_, events):
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1)
    [instance] = engine.state.instances.values()
    assert instance.failure_reason == "the engine refuses the result: 413 too large"
    assert [(event.outcome, event.verdict) for event in events if isinstance(event, Reported)] == [
        ("failed_final", "accepted")
    ]


@looptime
async def test_a_drain_reports_an_outcome_through_an_outage() -> None:
    engine = FaultyEngine(
        before=lambda name, number: Unreachable("x") if name == "complete_job" and number < 5 else None
    )
    await start(engine, "a")
    runner = Runner(engine, registry_of(a=nothing), worker_id="w", clock=loop_time)
    task = asyncio.create_task(runner.run())
    await until(lambda: engine.count("complete_job") > 0)
    runner.stop()
    assert await task == []
    assert finished(engine, InstanceStatus.COMPLETED) == 1


@looptime
async def test_a_poll_whose_answer_is_lost_costs_a_lease_and_no_job() -> None:
    engine = FaultyEngine(after=lambda name, number: AnswerLost("t") if (name, number) == ("poll_jobs", 0) else None)
    await start(engine, "a")
    async with running(engine, registry_of(a=nothing)):
        await asyncio.sleep(31)
        engine.state.sweep()
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)


@looptime
async def test_a_job_of_a_type_not_asked_for_is_left_to_its_lease() -> None:
    class Confused(FaultyEngine):
        async def poll_jobs(
            self, worker_id: str, job_types: Any, max_jobs: int, lease: float | None = None
        ) -> list[ClaimedJob]:
            await asyncio.sleep(0.01)
            return [ClaimedJob(id="j", instance_id="i", job_type="z")] if self.count("x") == 0 else []

    engine = Confused()
    async with running(engine, registry_of(a=nothing)) as (runner, _):
        await asyncio.sleep(1)
        assert not runner.unhealthy
        assert runner.slots.busy == 0
    assert engine.count("complete_job") == engine.count("fail_job") == 0


async def test_sync_handlers_have_one_thread_per_slot() -> None:
    engine = FaultyEngine()
    await start(engine, "a", count=8)
    together = threading.Barrier(8, timeout=30)

    def a(_: Job) -> None:
        together.wait()

    async with running(engine, registry_of(a=a), parallelism=8):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 8)


def test_a_job_type_without_handler_is_a_start_error_that_names_it() -> None:
    with pytest.raises(StartError, match=r"no handler for job type 'b' \(ROCHALLOR_JOB_TYPES\); registered: a"):
        Runner(FaultyEngine(), registry_of(a=nothing), worker_id="w", job_types=["a", "b"], clock=lambda: 0)


def test_an_empty_registry_is_a_start_error() -> None:
    with pytest.raises(StartError, match="the registry has no handler"):
        Runner(FaultyEngine(), Registry(), worker_id="w", clock=lambda: 0)


@looptime
async def test_a_job_that_our_own_fail_requeued_is_run_again_at_once() -> None:
    """The engine unlocks the job when it accepts the Fail; a poll may claim it before the Fail is answered."""
    engine = FaultyEngine(after=lambda name, _: 1.0 if name == "fail_job" else None)
    await start(engine, "a", retries=1)
    runs: list[float] = []

    async def fails_once(job: Job) -> None:
        runs.append(loop_time())
        if job.retries_remaining:
            raise ValueError("not yet")

    async with running(engine, registry_of(a=fails_once)) as (_, events):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert runs[1] - runs[0] == pytest.approx(1, abs=0.1)
    assert Duplicate("a") not in events
