"""A worker whose polls are answered by anything: it lives on, and runs and completes every job it can read."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.budget import examples
from fuzz.calls import JOB, damaged, to_bytes, wrong
from rochallor_worker import Job, Registry, Runner
from rochallor_worker.activity import Activity
from rochallor_worker.engine.rest import RestClient
from rochallor_worker.metrics import Metrics
from rochallor_worker.pulse import Pulse
from unit.worker.engines import loop_time
from waiting import until

SLOTS = 4


class Engine:
    """In the transport's place: answers polls with what is written down, one after another, and takes every outcome.

    A list is the jobs that it has then; of them it gives as many as it is asked for.
    """

    def __init__(self, polls: Sequence[list[Any] | tuple[int, bytes]]) -> None:
        self.polls = deque(polls)
        self.given: list[Any] = []
        self.completed: list[str] = []
        self.unasked: list[str] = []
        """Jobs that were run though their type was not asked for."""

    async def send(self, _method: str, url: str, content: bytes, _headers: Mapping[str, str]) -> tuple[int, bytes]:
        await asyncio.sleep(0.01)
        *_, job, call = url.split("/")
        if call == "poll":
            return self._poll(json.loads(content)["maxJobs"])
        if call == "complete":
            self.completed.append(unquote(job))
        return 204, b""

    async def aclose(self) -> None:
        pass

    def _poll(self, count: int) -> tuple[int, bytes]:
        answer = self.polls.popleft() if self.polls else []
        if isinstance(answer, tuple):
            return answer
        self.given += answer[:count]
        return 200, to_bytes({"jobs": answer[:count]})


class Client(RestClient):
    """The real client over that engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        super().__init__("http://engine")

    def _connect(self) -> Any:
        return self._engine


good = st.integers(0, 10**6).map(lambda number: JOB | {"id": f"good-{number}"})
batches = st.lists(good | wrong(JOB), min_size=1, max_size=SLOTS)
noise = st.tuples(st.sampled_from([200, 302, 400, 404, 409, 500, 503]), damaged(to_bytes({"jobs": [JOB]})))


@asynccontextmanager
async def running(engine: Engine, seed: int = 0) -> AsyncIterator[Runner]:
    """A worker as the process makes it, for jobs of type t; at the end it must have lived on, and done what it had."""
    registry = Registry()

    @registry.handler("t")
    async def handle(job: Job) -> dict[str, object]:
        await asyncio.sleep(1)
        return {"echo": job.variables}

    @registry.handler("known")
    async def not_asked_for(job: Job) -> None:
        engine.unasked.append(job.id)

    runner = Runner(
        Client(engine),
        registry,
        worker_id="w",
        job_types=["t"],
        parallelism=SLOTS,
        clock=loop_time,
        random=Random(seed),
    )
    pulse = Pulse(runner.slots, loop_time)
    activity = Activity(runner.job_types, loop_time)
    runner.observers += [Metrics(runner, pulse, transport="rest", worker_id="w").observe, activity.observe]
    task = asyncio.create_task(runner.run())
    yield runner
    await until(lambda: not engine.polls or task.done())
    await asyncio.sleep(1)  # the last answer arrives
    await until(lambda: runner.slots.busy == 0 or task.done())
    assert not task.done()
    assert runner.sick == ""
    runner.stop()
    assert await task == []
    assert engine.unasked == []


@pytest.mark.looptime
@examples(2)
@given(polls=st.lists(batches | batches | noise, min_size=1, max_size=8), seed=st.integers(0, 2**32))
@example(polls=[[JOB | {"id": "good-1"}, JOB | {"jobType": "known"}]], seed=0)
async def test_every_job_that_can_be_read_is_completed(polls: list[list[Any] | tuple[int, bytes]], seed: int) -> None:
    engine = Engine(polls)
    async with running(engine, seed):
        pass
    jobs = [job["id"] for job in engine.given if isinstance(job, dict) and isinstance(job.get("id"), str)]
    assert {job for job in engine.completed if "good" in job} == {job for job in jobs if "good" in job}


@pytest.mark.looptime
async def test_of_more_jobs_than_asked_for_the_others_are_left_to_their_leases() -> None:
    body = to_bytes({"jobs": [JOB | {"id": f"j{number}"} for number in range(2 * SLOTS)]})
    engine = Engine([(200, body)])
    async with running(engine) as runner:
        await until(lambda: runner.slots.busy > 0)
        assert runner.sick == ""
    assert sorted(engine.completed) == [f"j{number}" for number in range(SLOTS)]
