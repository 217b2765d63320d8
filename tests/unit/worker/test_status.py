"""What the status page fetches: counts, rates, waits, running jobs with their leases, failures, the drain."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker import Backoff, Job, NonRetryableError, Postpone, Registry, Runner
from rochallor_worker.events import Executed, Reported, Started
from rochallor_worker.observability.activity import FAILURES, SECONDS, Activity
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.observability.status import status
from unit.worker.engines import FaultyEngine, definition, loop_time
from unit.worker.running import running
from waiting import until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown(runner: Runner, activity: Activity, clock: Callable[[], float]) -> dict[str, Any]:
    sampler = Sampler(runner.slots, runner.gates, clock)
    answer = status(runner, activity, sampler, transport="rest", worker_id="w", clock=clock)
    return msgspec.json.decode(answer, type=dict[str, Any])


async def test_it_shows_state_limits_rates_and_failures(clock: Clock) -> None:
    registry = Registry()
    registry.handler("pay", limit=3, per_second=5)(lambda _: None)
    registry.handler("ship", breaker=None)(lambda _: None)
    runner = Runner(FaultyEngine(), registry, worker_id="w", clock=clock)
    activity = Activity(runner.job_types, clock)
    clock.now += 30
    for _ in range(90):
        activity.observe(Started("pay", 0.1, 0.5))
        activity.observe(Reported("pay", "completed", "accepted", 0.1))
    activity.observe(Executed("pay", "failed_retryable", 0.1, "TimeoutError", "i-1"))
    activity.observe(Reported("pay", "failed_retryable", "accepted", 0.1))
    activity.observe(Executed("pay", "failed_final", 0.1, "ValueError: no such card", "i-2"))
    activity.observe(Reported("pay", "failed_final", "accepted", 0.1))
    seen = shown(runner, activity, clock)
    assert "the engine has not answered the first poll yet" in seen["problem"]
    assert seen["draining"] is None
    pay, ship = seen["types"]
    assert (pay["rate"], pay["wait"]) == (pytest.approx(92 / 30), 0.5)
    assert (pay["completed"], pay["retried"], pay["failed"]) == (90, 1, 1)
    assert (pay["parallelism"], pay["perSecond"], pay["breaker"], ship["breaker"]) == (3, 5, "closed", "off")
    assert ship["wait"] is None
    assert [(one["instance"], one["message"]) for one in seen["retried"]] == [("i-1", "TimeoutError")]
    assert [(one["instance"], one["message"]) for one in seen["failed"]] == [("i-2", "ValueError: no such card")]
    clock.now += 1
    pay, _ = shown(runner, activity, clock)["types"]
    assert (pay["ended"][-1], pay["waits"][-1]) == (92, 0.5)
    assert len(pay["ended"]) == SECONDS
    clock.now += 61
    assert activity.rate("pay") == 0


@given(st.lists(st.tuples(st.floats(0, 90), st.integers(0, 3)), max_size=40))
def test_a_minute_is_counted_whatever_the_pauses(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    activity = Activity(["a"], clock)
    ends: list[int] = []
    for pause, jobs in steps:
        clock.now += pause
        for _ in range(jobs):
            activity.observe(Reported("a", "completed", "accepted", 0.1))
            ends.append(int(clock.now))
    last = int(clock.now)
    assert [second.ended for second in activity.series("a")] == [ends.count(at) for at in range(last - SECONDS, last)]


async def test_only_the_latest_failures_are_kept_and_long_errors_are_cut(clock: Clock) -> None:
    activity = Activity(["a"], clock)
    for number in range(FAILURES + 5):
        activity.observe(Executed("a", "failed_final", 0.1, "x" * 100_000, f"i-{number}"))
    assert [one.instance_id for one in activity.failed] == [f"i-{number}" for number in range(5, FAILURES + 5)]
    assert max(len(one.message) for one in activity.failed) <= 500


async def test_an_open_breaker_says_why_and_when_it_probes(clock: Clock) -> None:
    registry = Registry()
    registry.handler("pay")(lambda _: None)
    runner = Runner(FaultyEngine(), registry, worker_id="w", clock=clock)
    circuit = runner.gates["pay"].circuit
    for _ in range(20):
        circuit.failed(clock(), "ConnectionError: <b>refused</b>")
    (pay,) = shown(runner, Activity(runner.job_types, clock), clock)["types"]
    assert (pay["breaker"], pay["probe"], pay["reason"]) == ("open", 1.0, "ConnectionError: <b>refused</b>")


async def test_it_shows_running_jobs_with_their_lease_and_how_far_a_drain_is() -> None:
    registry = Registry()
    may_end = asyncio.Event()

    @registry.handler("step-0")
    async def work(job: Job) -> None:
        await may_end.wait()
        if job.variables["bad"]:
            raise NonRetryableError("not this one")

    engine = FaultyEngine()
    await engine.upload_definition(definition("step-0"))
    instances = [(await engine.start_instance("d", {"bad": number == 0})).id for number in range(52)]
    runner = Runner(engine, registry, worker_id="w", clock=loop_time, poll_interval=0.01)
    activity = Activity(runner.job_types, loop_time)
    runner.observers.append(activity.observe)
    task = asyncio.create_task(runner.run())
    await until(lambda: runner.slots.busy == len(instances))
    seen = shown(runner, activity, loop_time)
    assert (len(seen["jobs"]), seen["types"][0]["running"]) == (52, 52)
    assert {job["instance"] for job in seen["jobs"]} == set(instances)
    assert all(0 <= job["age"] < 30 and 0 < job["left"] <= 30 and not job["lost"] for job in seen["jobs"])
    assert not any(job["parked"] for job in seen["jobs"])
    runner.stop()
    await until(lambda: runner.drain is not None)
    seen = shown(runner, activity, loop_time)
    assert (seen["draining"]["jobs"], seen["draining"]["running"]) == (52, 52)
    assert 0 < seen["draining"]["left"] <= 25
    may_end.set()
    await task
    seen = shown(runner, activity, loop_time)
    assert (seen["draining"]["jobs"], seen["draining"]["running"]) == (52, 0)
    assert [one["instance"] for one in seen["failed"]] == instances[:1]


@pytest.mark.looptime
async def test_jobs_that_run_wait_or_have_ended_are_told_apart() -> None:
    registry, release = Registry(), asyncio.Event()

    @registry.handler("held", limit=5)
    async def held(_: Job) -> None:
        await release.wait()

    @registry.handler("later", breaker=None)
    async def later(_: Job) -> None:
        raise Postpone("closed", after=60)

    @registry.handler("again", retry=Backoff(first=60))
    async def again(_: Job) -> None:
        raise ConnectionError

    engine = FaultyEngine()
    ids = []
    for job_type in ("held", "later", "again"):
        await engine.upload_definition({**definition(job_type, retries=1), "id": job_type})
        ids.append((await engine.start_instance(job_type)).id)
    async with running(engine, registry, parallelism=8) as (runner, _):
        await asyncio.sleep(5)
        seen = shown(runner, Activity(runner.job_types, loop_time), loop_time)
        release.set()
    assert (seen["problem"], seen["slots"]["busy"], seen["slots"]["total"]) == ("", 2, 8)
    assert {(job["instance"], job["type"], job["parked"], job["ended"]) for job in seen["jobs"]} == {
        (ids[0], "held", False, False),
        (ids[1], "later", True, False),
        (ids[2], "again", False, True),
    }
    assert [job["age"] for job in seen["jobs"]] == pytest.approx([5, 5, 5], abs=1)
    assert [job["left"] for job in seen["jobs"]] == pytest.approx([25, 25, 25], abs=1)
    assert [(one["running"], one["parked"]) for one in seen["types"]] == [(1, 0), (0, 1), (1, 0)]
