"""Several polls at a time, on a virtual clock: slots wait for no poll, and no promise about claims is weaker."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rochallor_worker import InstanceStatus, Job, Registry
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import Unreachable
from rochallor_worker.source.polling import FIRST_IDLE_WAIT, MAX_POLLS, MIN_GAP, PollingSource
from unit.worker.engines import FaultyEngine, definition, loop_time, unused
from unit.worker.running import finished, nothing, registry_of, running, start
from unit.worker.test_polling import source_of
from waiting import until

pytestmark = pytest.mark.looptime

POLL = 0.1
"""Seconds that a poll takes, where nothing else is said."""


class SlowEngine(FaultyEngine):
    """Counts the jobs that are asked for, and those that came and are not settled, by type."""

    def __init__(self, random: Random | None = None) -> None:
        super().__init__(after=lambda name, _: self._seconds(name))
        self.asked: Counter[str] = Counter()
        self.here: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.most_of: Counter[str] = Counter()
        self._random = random
        self._types: dict[str, str] = {}

    def _seconds(self, name: str) -> float:
        if self._random is not None:
            return self._random.choice([0, 0.001, 0.02, 0.3])
        return POLL if name == "poll_jobs" else 0.0

    async def poll_jobs(
        self, worker_id: str, job_types: Sequence[str], max_jobs: int, lease: float | None = None
    ) -> list[ClaimedJob]:
        asked = dict.fromkeys(job_types, max_jobs)
        self.asked.update(asked)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.asked["all"] += max_jobs
        self._note()
        try:
            jobs = await super().poll_jobs(worker_id, job_types, max_jobs, lease)
        finally:
            self.in_flight -= 1
            self.asked.subtract(asked)
            self.asked["all"] -= max_jobs
        for job in jobs:
            self._types[job.id] = job.job_type
            self.here.update([job.job_type, "all"])
        return jobs

    def _note(self) -> None:
        for job_type in self.asked:
            self.most_of[job_type] = max(self.most_of[job_type], self.asked[job_type] + self.here[job_type])

    async def complete_job(self, job_id: str, worker_id: str, variables: Any) -> None:
        await super().complete_job(job_id, worker_id, variables)
        self.here.subtract([self._types[job_id], "all"])

    async def fail_job(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        await super().fail_job(job_id, worker_id, message, retryable=retryable)
        self.here.subtract([self._types[job_id], "all"])


async def begin(source: PollingSource, count: int) -> "asyncio.Task[int]":
    """Poll when it is time, as the runner does; return what takes the answer."""
    await source.ready()

    async def take() -> int:
        return len(await source.take(count, unused))

    polling = asyncio.create_task(take())
    await asyncio.sleep(0)
    return polling


async def test_a_backlog_is_polled_for_while_other_polls_are_in_flight() -> None:
    engine = SlowEngine()
    source = source_of(engine)
    await start(engine, "a", count=50)
    await (await begin(source, 10))
    polls = [await begin(source, 10) for _ in range(3)]
    gaps = [later - earlier for earlier, later in pairwise(engine.times("poll_jobs")[1:])]
    assert gaps == pytest.approx([MIN_GAP] * 2)
    assert [await polling for polling in polls] == [10] * 3


async def test_without_a_backlog_there_is_one_poll_at_a_time() -> None:
    engine = SlowEngine()
    source = source_of(engine)
    await start(engine, "a", count=5)
    polling = await begin(source, 10)
    following = asyncio.create_task(source.ready())
    await asyncio.sleep(POLL / 2)
    assert not following.done()
    assert await polling == 5
    await following
    assert loop_time() <= POLL + FIRST_IDLE_WAIT * 1.1 + 1e-6


async def test_the_end_of_a_backlog_is_one_empty_answer_however_many_polls_found_it() -> None:
    engine = SlowEngine()
    source = source_of(engine)
    await start(engine, "a", count=10)
    await (await begin(source, 10))
    polls = [await begin(source, 10) for _ in range(3)]
    assert [await polling for polling in polls] == [0] * 3
    answered_at = loop_time()
    await source.ready()
    assert loop_time() - answered_at <= FIRST_IDLE_WAIT * 1.1 + 1e-6


async def test_polls_that_fail_together_are_one_failure() -> None:
    """Else the wait would grow as if the outage had lasted, and an engine that restarts would be found late."""

    async def waits(together: int) -> float:
        engine = SlowEngine()
        source = source_of(engine)
        await start(engine, "a", count=10)
        await (await begin(source, 10))
        engine.after = lambda *_: Unreachable("cannot connect")
        polls = [asyncio.create_task(source.take(10, unused)) for _ in range(together)]
        assert [await polling for polling in polls] == [[]] * together
        failed_at = loop_time()
        await source.ready()
        return loop_time() - failed_at

    assert await waits(3) == pytest.approx(await waits(1))


async def test_slots_that_are_not_asked_for_are_given_back_before_the_answer() -> None:
    engine = SlowEngine()
    source = source_of(engine)
    await start(engine, "a", count=20)
    back: dict[float, int] = {}
    await source.take(150, lambda count: back.update({loop_time(): count}))
    assert back == pytest.approx({0: 50, POLL: 80})


async def test_an_engine_at_its_limit_is_kept_busy() -> None:
    """It settles one outcome at a time, and polls wait behind the outcomes: slots would stand idle for one poll."""

    class Busy(SlowEngine):
        def __init__(self) -> None:
            super().__init__()
            self.after = lambda *_: None
            self._core = asyncio.Lock()
            self.idle_since = self.idle = 0.0

        async def poll_jobs(self, *arguments: Any) -> list[ClaimedJob]:
            async with self._core:
                pass
            await asyncio.sleep(0.003)
            return await super().poll_jobs(*arguments)

        async def complete_job(self, *arguments: Any) -> None:
            if not self._core.locked():
                self.idle += loop_time() - self.idle_since
            async with self._core:
                await asyncio.sleep(0.001)
                await super().complete_job(*arguments)
                self.idle_since = loop_time()

    engine, jobs = Busy(), 600
    await start(engine, "a", count=jobs)
    async with running(engine, registry_of(a=nothing), parallelism=64):
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == jobs)
    assert engine.most_in_flight > 1
    assert engine.idle < 0.05 * jobs * 0.001


@pytest.mark.parametrize("seconds", [0.02, 0.11, 0.3])
async def test_a_flood_is_served_beside_an_idle_type_however_long_a_poll_takes(seconds: float) -> None:
    """With polls of more than 0.1 s, all of them were for the idle type."""

    class Far(SlowEngine):
        def _seconds(self, name: str) -> float:
            return seconds if name == "poll_jobs" else 0.0

    engine, jobs = Far(), 200
    await start(engine, "flood", count=jobs)
    async with running(engine, registry_of(flood=nothing, idle=nothing), parallelism=8):
        began = loop_time()
        await until(lambda: finished(engine, InstanceStatus.COMPLETED) == jobs)
    alone = jobs / 8 * (seconds + MIN_GAP)  # with one poll after the other
    assert loop_time() - began < 2 * alone


async def test_a_rate_is_used_up_beside_an_idle_type() -> None:
    """It waited for the next poll of the idle type, and by then had missed a part of its rate."""
    engine, registry = FaultyEngine(), Registry()
    registry.handler("limited", per_second=1)(nothing)
    registry.handler("idle")(nothing)
    await start(engine, "limited", count=60)
    async with running(engine, registry):
        await asyncio.sleep(40)
        assert finished(engine, InstanceStatus.COMPLETED) in {40, 41}


async def test_a_drain_runs_what_all_polls_in_flight_bring() -> None:
    engine = SlowEngine()
    await start(engine, "a", count=200)

    async def brief(job: Job) -> None:
        await asyncio.sleep(0.003 * (job.variables["n"] % 32))

    async with running(engine, registry_of(a=brief), parallelism=32) as (runner, _):
        await until(lambda: engine.in_flight == MAX_POLLS, every=0.001)
        runner.stop()
    statuses = Counter(job.status for job in engine.state.jobs.values())
    assert set(statuses) == {"COMPLETED", "UNLOCKED"}
    assert len(engine.times("poll_jobs")) < 10


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
async def test_no_more_is_claimed_than_there_are_slots_and_room_whatever_is_in_flight(seed: int, slots: int) -> None:
    random = Random(seed)
    engine = SlowEngine(random)
    registry = Registry()

    async def run(_: Job) -> None:
        await asyncio.sleep(random.choice([0, 0.01, 0.2]))
        if random.random() < 0.1:
            raise ValueError("no")

    # no breakers: a failure that one doubts leaves its slot and its limit to another job
    registry.handler("a", limit=2, breaker=None)(run)
    registry.handler("b", per_second=20, breaker=None)(run)
    registry.handler("c", breaker=None)(run)
    for job_type in "abc":
        await engine.upload_definition({**definition(job_type), "id": job_type})
        for _ in range(8):
            await engine.start_instance(job_type)
    async with running(engine, registry, parallelism=slots) as (runner, _):
        await until(lambda: not finished(engine, InstanceStatus.ACTIVE), within=600)
        assert not runner.unhealthy
    assert engine.most_in_flight <= MAX_POLLS
    assert engine.most_of["all"] <= slots
    assert engine.most_of["a"] <= 2
