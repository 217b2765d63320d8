"""What holds on every generation of the engine, and on replicas of two at once (engine.md, "Generations")."""

import asyncio
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from rochallor_worker import InstanceStatus, Job
from rochallor_worker.errors import AnswerLost, EngineError, InternalError, Unreachable, Unreadable
from rochallor_worker.events import Duplicate, Leased, Overran, Renewed, Reported, Started
from rochallor_worker.execution.journal import MAX_OVERRUNS
from rochallor_worker.execution.renewal import CONVINCED_AFTER
from unit.worker.engines import FLEETS, FaultyEngine, Fleet, loop_time
from unit.worker.running import finished, registry_of, running, start, sweeping
from waiting import until

pytestmark = pytest.mark.looptime
every_fleet = pytest.mark.parametrize("fleet", FLEETS)
cannot_renew = pytest.mark.parametrize("fleet", ["A", "C"])


class Stubborn:
    """A handler that ignores its cancellation, like a sync one."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.runs = 0
        self.ended = asyncio.Event()

    async def __call__(self, _: Job) -> dict[str, bool]:
        self.runs += 1
        ends_at = loop_time() + self.seconds
        while loop_time() < ends_at:
            try:
                await asyncio.sleep(ends_at - loop_time())
            except asyncio.CancelledError:
                continue
        self.ended.set()
        return {"done": True}


@every_fleet
async def test_attempts_and_pauses_grow_with_each_retry(fleet: Fleet) -> None:
    engine = FaultyEngine(fleet=fleet)
    await start(engine, "a", retries=4)
    attempts: list[int] = []
    failed_at: list[float] = []

    async def a(job: Job) -> None:
        attempts.append(job.attempt)
        failed_at.append(loop_time())
        raise ValueError("not yet")

    async with running(engine, registry_of(a=a), retry_pause=1.0), sweeping(engine):
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1)
    assert attempts == [1, 2, 3, 4, 5]
    assert [round(b - a) for a, b in pairwise(failed_at)] == [1, 2, 4, 8]


@pytest.mark.parametrize("fleet", ["D", "rolling"])
async def test_a_long_run_is_renewed_and_runs_once(fleet: Fleet) -> None:
    engine = FaultyEngine(fleet=fleet)
    await start(engine, "a")
    runs = 0

    async def a(_: Job) -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(600)

    async with running(engine, registry_of(a=a)) as (_, events), sweeping(engine):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1, within=3600, every=1)
    assert runs == 1
    assert events.count(Renewed("a", "renewed")) >= 20


@pytest.mark.parametrize("asked", [5.0, 30.0, 3600.0])
async def test_a_lease_is_as_long_as_asked_for_where_the_engine_can(asked: float) -> None:
    engine = FaultyEngine()
    await start(engine, "a")

    async def a(_: Job) -> None:
        await asyncio.sleep(asked / 2)

    async with running(engine, registry_of(a=a), lease=asked, poll_interval=60) as (_, events), sweeping(engine):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1, within=9999, every=10)
    assert Leased(asked, 0.0) in events
    assert events.count(Renewed("a", "renewed")) == 1


@cannot_renew
async def test_a_run_past_a_fixed_lease_is_adopted_or_reported_late_and_runs_once(fleet: Fleet) -> None:
    """35 s on a lease of 30 s: the outcome comes after its end and before the engine redelivers the job."""
    engine = FaultyEngine(fleet=fleet)
    await start(engine, "a", count=4)
    a = Stubborn(35)
    async with running(engine, registry_of(a=a)) as (_, events), sweeping(engine, 20):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 4, within=3600, every=1)
    assert a.runs == 4
    late = events.count(
        next((e for e in events if isinstance(e, Reported) and e.verdict == "late"), Started("", 0, None))
    )
    if fleet == "A":  # which accepts a late Complete, as the history shows
        assert late == 0
    assert sum(isinstance(event, Reported) and event.verdict == "accepted" for event in events) == 4


async def test_a_late_outcome_is_kept_and_reported_without_a_run() -> None:
    engine = FaultyEngine(fleet="C")
    await start(engine, "a")
    a = Stubborn(35)
    async with running(engine, registry_of(a=a)) as (_, events):
        await until(lambda: any(isinstance(event, Reported) for event in events), within=60)
        assert finished(engine, InstanceStatus.ACTIVE) == 1
        engine.state.sweep()
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert [event.verdict for event in events if isinstance(event, Reported)] == ["late", "accepted"]
    assert a.runs == 1


@cannot_renew
async def test_a_run_that_never_ends_is_failed_at_the_start_of_a_lease_after_three_overruns(fleet: Fleet) -> None:
    engine = FaultyEngine(fleet=fleet)
    await start(engine, "a", retries=5)
    a = Stubborn(2000)
    async with running(engine, registry_of(a=a)) as (_, events), sweeping(engine):
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1, within=3600, every=1)
        assert loop_time() < 4 * 46
    [instance] = engine.state.instances.values()
    assert instance.failure_reason == (
        "ran past its lease 3 times, and this engine cannot renew leases: set a handlerTimeout below the lease, or use "
        "an engine that renews leases, or transport kafka"
    )
    assert sum(isinstance(event, Overran) for event in events) == MAX_OVERRUNS
    assert a.runs == 1
    assert engine.retries_remaining() == 5
    await a.ended.wait()  # here, in virtual time: the end of the loop would wait for it in real time


@cannot_renew
async def test_an_outage_is_no_overrun_and_no_reason_to_fail(fleet: Fleet) -> None:
    """The handler ends in time; its outcome waits for the engine past the lease."""
    down = False
    engine = FaultyEngine(fleet=fleet, before=lambda *_: Unreachable("away") if down else None)
    await start(engine, "a", count=3)

    async def a(_: Job) -> None:
        nonlocal down
        await asyncio.sleep(5)
        down = True

    async with running(engine, registry_of(a=a)) as (_, events), sweeping(engine):
        await asyncio.sleep(100)
        down = False
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 3, within=600)
    assert sum(isinstance(event, Started) for event in events) == 3
    assert not any(isinstance(event, Overran) for event in events)


@pytest.mark.parametrize("lease", [5.0, 30.0])
async def test_a_cancelled_instance_stops_its_handler_within_a_third_of_the_lease(lease: float) -> None:
    engine = FaultyEngine()
    [instance] = await start(engine, "a", retries=3)
    stopped_at: list[float] = []

    async def a(_: Job) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            stopped_at.append(loop_time())

    async with running(engine, registry_of(a=a), lease=lease) as (_, events):
        await asyncio.sleep(2)
        await engine.cancel_instance(instance)
        await until(lambda: bool(stopped_at))
        await asyncio.sleep(100)
    assert stopped_at[0] <= 2 + lease / 3 + 0.5
    assert Renewed("a", "lost") in events
    assert engine.count("complete_job") + engine.count("fail_job") == 0
    assert [event.verdict for event in events if isinstance(event, Reported)] == ["lost"]


NONSENSE: list[EngineError | datetime] = [
    Unreadable("no date"),
    InternalError("500"),
    AnswerLost("a page of HTML"),
    Unreachable("refused"),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(2000, 1, 1, tzinfo=UTC),
]


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
async def test_an_invalid_answer_to_a_renewal_costs_that_renewal_only(answer: EngineError | datetime) -> None:
    engine = FaultyEngine()
    renew = engine.extend_lease
    asked = 0

    async def every_other(job_id: str, worker_id: str, lease: float) -> datetime:
        nonlocal asked
        asked += 1
        if asked % 2 == 0:
            return await renew(job_id, worker_id, lease)
        if isinstance(answer, datetime):
            return answer
        raise answer

    engine.extend_lease = every_other  # type: ignore[method-assign]
    await start(engine, "a")

    async def a(_: Job) -> None:
        await asyncio.sleep(200)

    async with running(engine, registry_of(a=a)) as (_, events), sweeping(engine):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1, within=600, every=1)
    assert sum(isinstance(event, Started) for event in events) == 1
    assert Renewed("a", "failed") in events


async def test_an_engine_that_never_answers_a_renewal_delays_nothing() -> None:
    engine = FaultyEngine(before=lambda name, n: 1e6 if name == "extend_lease" and n < 40 else None)
    await start(engine, "a", count=20)

    async def a(_: Job) -> None:
        await asyncio.sleep(12)

    async with running(engine, registry_of(a=a)):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 20)
        assert loop_time() < 13


async def test_short_jobs_cost_no_renewal() -> None:
    engine = FaultyEngine()
    await start(engine, "a", count=1500)
    runs = 0

    async def a(_: Job) -> None:
        nonlocal runs
        runs += 1
        await asyncio.sleep(2)

    async with running(engine, registry_of(a=a)), sweeping(engine):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1500, within=600)
    assert (runs, engine.count("extend_lease")) == (1500, 0)


async def test_64_long_jobs_cost_less_than_seven_renewals_a_second() -> None:
    engine = FaultyEngine()
    await start(engine, "a", count=64)

    async def a(_: Job) -> None:
        await asyncio.sleep(600)

    before = time.process_time()
    async with running(engine, registry_of(a=a)), sweeping(engine):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 64, within=1000, every=1)
    assert engine.count("extend_lease") / loop_time() < 7
    assert engine.count("extend_lease") > 64 * 55
    assert time.process_time() - before < 60  # of virtual 600 s, test and engine included


async def test_leases_are_renewed_while_a_worker_drains() -> None:
    engine = FaultyEngine()
    await start(engine, "a")

    async def a(_: Job) -> None:
        await asyncio.sleep(300)

    async with sweeping(engine), running(engine, registry_of(a=a), drain_timeout=1000) as (runner, events):
        await until(lambda: any(isinstance(event, Started) for event in events))
        runner.stop()
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1, within=400)


@pytest.mark.parametrize("skew", [2.0, -2.0])
async def test_clock_skew_is_logged_and_shortens_the_lease(skew: float, logged: list[MutableMapping[str, Any]]) -> None:
    engine = FaultyEngine(fleet="C")
    engine.state.skew = skew
    await start(engine, "a", retries=1)

    async def a(_: Job) -> None:
        await asyncio.sleep(29.5 + skew)

    async with running(engine, registry_of(a=a)) as (_, events), sweeping(engine):
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1, within=200)
    assert Leased(30 + skew, skew) in events
    assert "the engine's clock and its database's differ" in [entry["event"] for entry in logged]


async def test_a_lease_that_is_not_as_long_as_asked_for_is_logged(logged: list[MutableMapping[str, Any]]) -> None:
    engine = FaultyEngine(fleet="C")
    await start(engine, "a")

    async def a(_: Job) -> None:
        return None

    async with running(engine, registry_of(a=a), lease=60) as (_, events):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert Leased(30, 0) in events
    [entry] = [entry for entry in logged if entry["event"] == "the engine's leases are not as long as asked for"]
    assert (entry["asked"], entry["got"]) == (60, 30)


async def test_an_upgrade_during_a_run_is_noticed_and_so_is_a_downgrade() -> None:
    engine = FaultyEngine(fleet="C")
    await start(engine, "a", count=CONVINCED_AFTER)

    async def a(_: Job) -> None:
        await asyncio.sleep(100)

    async with running(engine, registry_of(a=a)) as (runner, events), sweeping(engine):
        renewals = runner._executor.renewals
        for heartbeat in (False, True, False, True):
            engine.state.heartbeat = heartbeat
            await until(lambda: renewals.supported is heartbeat, within=20)  # noqa: B023 — awaited here
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == CONVINCED_AFTER, within=200)
    assert sum(isinstance(event, Started) for event in events) == CONVINCED_AFTER


@pytest.mark.parametrize(("timeout", "noticed"), [(600, True), (20, False), (None, False)])
async def test_handlers_that_may_outlive_a_lease_that_cannot_be_renewed_are_a_notice(
    timeout: float | None, noticed: bool
) -> None:
    engine = FaultyEngine(fleet="C")
    await start(engine, "a", count=CONVINCED_AFTER)

    async def a(_: Job) -> None:
        await asyncio.sleep(15)

    async with running(engine, registry_of(a=a), handler_timeout=timeout) as (runner, _):
        assert runner.notice == ""
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == CONVINCED_AFTER)
        assert runner.notice.startswith("LeaseNotRenewable: ") is noticed
        assert runner.problem is None


@every_fleet
async def test_a_fail_in_flight_does_not_reject_the_next_attempt(fleet: Fleet) -> None:
    engine = FaultyEngine(fleet=fleet, after=lambda name, n: 8.0 if (name, n) == ("fail_job", 0) else None)
    await start(engine, "a", retries=2)
    runs = 0

    async def a(_: Job) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError("not yet")

    async with running(engine, registry_of(a=a)) as (_, events):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1, within=100)
    assert runs == 2
    assert not any(isinstance(event, Duplicate) for event in events)


async def test_the_limit_of_a_handler_moves_with_its_lease_and_its_timeout_does_not() -> None:
    engine = FaultyEngine()
    await start(engine, "a", "b", retries=0)
    deadlines: list[float] = []

    async def a(job: Job) -> None:
        for _second in range(3):
            deadlines.append(round(job.deadline - loop_time()))
            await asyncio.sleep(15)

    async def b(_: Job) -> None:
        await asyncio.sleep(3600)

    async with running(engine, registry_of(a=a, b=b), handler_timeout=50), sweeping(engine):
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1, within=200)
    assert deadlines[0] == 29
    assert min(deadlines) >= 19
    [instance] = engine.state.instances.values()
    assert instance.failure_reason == "handler timed out after 50 s"
