"""Whole runs over Kafka, on both generations: order, retries, refusals, and what a killed worker repeats."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rochallor_worker import InstanceStatus, Job
from rochallor_worker.devengine.records import Generation
from rochallor_worker.engine._pb.workflow.v1.dispatch_pb2 import JobDispatchEvent
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.events import Duplicate, Reported
from rochallor_worker.execution.journal import MAX_CRASHES
from rochallor_worker.outcome import Completed
from rochallor_worker.source.kafka import topic
from unit.worker.dispatch import Brokers, Consumer, KafkaWorker, dispatching
from unit.worker.engines import FaultyEngine, loop_time
from unit.worker.killable import KillableJournal
from unit.worker.running import finished, start
from waiting import until

pytestmark = pytest.mark.looptime
Handler = Callable[[Job], Any]


@pytest.fixture(params=["A", "fenced"])
def generation(request: pytest.FixtureRequest) -> Generation:
    rules: Generation = request.param
    return rules


@pytest.fixture(autouse=True)
def _no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "Consumer", Consumer)


@asynccontextmanager
async def working(
    engine: FaultyEngine, brokers: Brokers, folder: Path, /, options: dict[str, Any] | None = None, **handlers: Handler
) -> AsyncIterator[KafkaWorker]:
    """A worker; everything that it has settled is committed when it stops."""
    worker = KafkaWorker(engine, brokers, folder, options or {}, **handlers)
    try:
        yield worker
    finally:
        await worker.stop()


async def test_branches_run_in_parallel_and_each_job_type_of_an_instance_in_order(
    generation: Generation, tmp_path: Path
) -> None:
    engine = dispatching(generation)
    brokers = Brokers(engine)
    runs: list[tuple[str, float, float]] = []

    async def branch(job: Job) -> None:
        began = loop_time()
        await asyncio.sleep(2)
        runs.append((job.id, began, loop_time()))

    for number, job_type in enumerate("abca"):
        job_id = f"{job_type}{number}"
        brokers.publish(JobDispatchEvent(job_id=job_id, instance_id="one", job_type=job_type, dedup_id=job_id))
    async with working(engine, brokers, tmp_path, a=branch, b=branch, c=branch):
        await until(lambda: brokers.all_committed)
    runs.sort()
    assert [job_id for job_id, _, _ in runs] == ["a0", "a3", "b1", "c2"]
    first, last, *others = runs
    assert first[1] == pytest.approx(0, abs=0.1)
    assert all(began == pytest.approx(first[1], abs=0.1) for _, began, _ in others)
    assert last[1] >= first[2]


@pytest.mark.parametrize("fails", [True, False])
async def test_an_outcome_of_an_unknown_job_delays_no_offset(
    generation: Generation, tmp_path: Path, logged: list[dict[str, Any]], fails: bool
) -> None:
    engine = dispatching(generation)
    brokers = Brokers(engine)

    async def a(_: Job) -> None:
        if fails:
            raise ValueError("boom")

    brokers.publish(JobDispatchEvent(job_id="unknown", instance_id="i", job_type="a", dedup_id="d"))
    async with working(engine, brokers, tmp_path, a=a) as worker:
        await until(lambda: brokers.all_committed)
        assert [event.verdict for event in worker.events if isinstance(event, Reported)] == ["refused"]
    assert engine.count("fail_job" if fails else "complete_job") == 1
    [aside] = [line for line in logged if line["event"] == "a record cannot be processed and is skipped"]
    assert (aside["topic"], aside["offset"]) == ("workflow.jobs.a", 0)


async def test_a_retry_that_comes_while_our_fail_is_in_flight_waits_for_its_end(
    generation: Generation, tmp_path: Path
) -> None:
    engine = dispatching(generation, after=lambda name, number: 5.0 if (name, number) == ("fail_job", 0) else None)
    brokers = Brokers(engine)
    await start(engine, "a", retries=1)
    runs: list[tuple[Job, float]] = []

    async def a(job: Job) -> None:
        runs.append((job, loop_time()))
        if job.attempt == 1:
            raise ValueError("not yet")

    async with working(engine, brokers, tmp_path, a=a):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
        assert [len(records) for records in brokers.log.values()] == [2]
        await until(lambda: brokers.all_committed)
    (first, began), (second, again) = runs
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.key == second.key
    assert (first.id == second.id) == (generation == "A")
    assert again - began >= 5


async def test_attempts_are_counted_and_pauses_grow_by_key(generation: Generation, tmp_path: Path) -> None:
    engine = dispatching(generation)
    brokers = Brokers(engine)
    await start(engine, "a", retries=4)
    runs: list[tuple[int, float]] = []

    async def a(job: Job) -> None:
        runs.append((job.attempt, loop_time()))
        raise ValueError("never")

    # a clock in steps of 1/1024 s, since virtual time does not advance while 1e-15 s of a pause are left
    options = {"retry_pause": 1.0, "clock": lambda: round(loop_time() * 1024) / 1024}
    async with working(engine, brokers, tmp_path, options, a=a):
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1)
        await until(lambda: brokers.all_committed)
    assert [attempt for attempt, _ in runs] == [1, 2, 3, 4, 5]
    pauses = [later - earlier for (_, earlier), (_, later) in pairwise(runs)]
    assert pauses == pytest.approx([1, 2, 4, 8], abs=0.1)


async def test_a_job_that_kills_its_worker_each_time_is_failed_after_the_third(
    generation: Generation, tmp_path: Path
) -> None:
    engine = dispatching(generation)
    brokers = Brokers(engine)
    await start(engine, "a", retries=4)
    runs = 0

    async def a(_: Job) -> None:
        nonlocal runs
        runs += 1
        await asyncio.Event().wait()  # until the end of the process

    async with working(engine, brokers, tmp_path, a=a) as worker:
        for number in range(MAX_CRASHES):
            await until(lambda: runs > number)  # noqa: B023 — called in this turn only
            await worker.kill()
            worker.start()
        await until(lambda: finished(engine, InstanceStatus.FAILED) == 1)
        await until(lambda: brokers.all_committed)
    assert runs == MAX_CRASHES
    [instance] = engine.state.instances.values()
    assert instance.failure_reason == "killed its worker 3 times"


async def test_a_killed_worker_runs_again_what_was_unfinished_and_nothing_else(
    generation: Generation, tmp_path: Path
) -> None:
    jobs = 60
    engine = dispatching(generation)
    brokers = Brokers(engine)
    await start(engine, "a", count=jobs, retries=1)
    begun, ended = list[int](), list[int]()

    async def a(job: Job) -> None:
        number = job.variables["n"]
        begun.append(number)
        await asyncio.sleep(0.1)
        ended.append(number)
        if number % 3 == 0 and job.retries_remaining:
            raise ValueError("not yet")

    async with working(engine, brokers, tmp_path, {"parallelism": 8}, a=a) as worker:
        await until(lambda: len(ended) >= jobs // 2)
        assert brokers.committed["workflow.jobs.a"] == 0
        await asyncio.sleep(0.05)  # everything that ended is settled
        unfinished = len(begun) - len(ended)
        settled = len(ended)
        await worker.kill()
        worker.start()
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == jobs)
        await until(lambda: brokers.all_committed)
        assert worker.events.count(Duplicate("a")) == settled
    assert unfinished == 8
    assert len(begun) == jobs + jobs // 3 + unfinished
    assert len(ended) == jobs + jobs // 3


async def test_a_job_whose_refusal_is_not_yet_put_aside_is_refused_again_and_not_run_again(
    generation: Generation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = dispatching(generation)
    brokers = Brokers(engine)
    runs = 0

    async def a(_: Job) -> None:
        nonlocal runs
        runs += 1

    put_aside: list[Callable[[], None]] = []
    monkeypatch.setattr(
        "rochallor_worker.source.kafka.source.KafkaSource._put_aside",
        lambda _source, _message, _why, then: put_aside.append(then),
    )
    brokers.publish(JobDispatchEvent(job_id="unknown", instance_id="i", job_type="a", dedup_id="d"))
    async with working(engine, brokers, tmp_path, a=a) as worker:
        await until(partial(len, put_aside))
        await worker.kill()
        put_aside.clear()
        worker.start()
        await until(partial(len, put_aside))
        put_aside.pop()()
        await until(lambda: brokers.all_committed)
    assert runs == 1
    assert engine.count("complete_job") == 2


async def test_what_was_decided_before_a_crash_is_sent_when_its_record_is_redelivered_and_not_before(
    generation: Generation, tmp_path: Path
) -> None:
    """Without a lease another worker may have the job by now, and two Completes at once can both count."""
    engine = dispatching(generation)
    brokers = Brokers(engine)
    await start(engine, "a")
    [job] = engine.state.jobs.values()
    before = KillableJournal(tmp_path)
    claimed = ClaimedJob(id=job.id, instance_id=job.instance.id, job_type="a", step_execution_id=job.execution.id)
    before.started(claimed)
    before.decided(claimed, Completed({"x": 1}))
    before.kill()
    withheld, brokers.relay = brokers.relay, lambda: None  # type: ignore[method-assign]

    async def a(_: Job) -> None:
        raise AssertionError("run again")

    async with working(engine, brokers, tmp_path, a=a):
        await asyncio.sleep(30)
        assert engine.count("complete_job") == 0
        brokers.relay = withheld  # type: ignore[method-assign]
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == 1)
    assert engine.count("complete_job") == 1
