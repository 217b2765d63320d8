"""A worker whose polls are answered by anything: it survives, and runs and completes every job it can read."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.budget import examples
from fuzz.calls import JOB, damaged, to_bytes, wrong
from rochallor_worker import Job, Registry, Runner
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.observability.activity import Activity
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler
from unit.worker.engines import loop_time
from waiting import until

SLOTS = 4


def job(name: str) -> dict[str, Any]:
    return JOB | {"id": name, "stepExecutionId": f"step of {name}"}


class Engine:
    """Replaces the transport: answers one poll after another from `polls`, and accepts every outcome.

    A list contains the available jobs, of which a poll gets as many as it requests.
    """

    def __init__(self, polls: Sequence[list[Any] | tuple[int, bytes]]) -> None:
        self.polls = deque(polls)
        self.given: list[Any] = []
        self.completed: list[str] = []
        self.unasked: list[str] = []
        """Jobs that were run although their type was not requested."""

    async def send(self, _method: str, url: str, content: bytes, _headers: Mapping[str, str]) -> tuple[int, bytes]:
        await asyncio.sleep(0.01)
        *_, name, call = url.split("/")
        if call == "poll":
            return self._poll(json.loads(content)["maxJobs"])
        if call == "complete":
            self.completed.append(unquote(name))
        return 204, b""

    async def aclose(self) -> None:
        pass

    def _poll(self, count: int) -> tuple[int, bytes]:
        answer = self.polls.popleft() if self.polls else []
        if isinstance(answer, tuple):
            return answer
        body = to_bytes({"jobs": answer[:count]})
        with suppress(msgspec.DecodeError):  # infinity is no JSON: then none of the answer can be read
            msgspec.json.decode(body, type=dict[str, msgspec.Raw])
            self.given += answer[:count]
        return 200, body


class Client(RestClient):
    """The real client over that engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        super().__init__("http://engine")

    def _connect(self) -> Any:
        return self._engine


good = st.integers(0, 10**6).map(lambda number: job(f"good-{number}"))
batches = st.lists(good | wrong(JOB), min_size=1, max_size=SLOTS)
noise = st.tuples(st.sampled_from([200, 302, 400, 404, 409, 500, 503]), damaged(to_bytes({"jobs": [JOB]})))


@asynccontextmanager
async def running(engine: Engine, seed: int = 0) -> AsyncIterator[Runner]:
    """A worker for jobs of type t, assembled as in a process; at the end it must be alive, and have no jobs left."""
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
    sampler = Sampler(runner.slots, runner.gates, loop_time)
    activity = Activity(runner.job_types, loop_time)
    runner.observers += [Metrics(runner, sampler, transport="rest", worker_id="w").observe, activity.observe]
    task = asyncio.create_task(runner.run())
    yield runner
    # polls that fail are 30 s apart in the end; on this clock it takes no time
    await until(lambda: not engine.polls or task.done(), within=600)
    await asyncio.sleep(1)  # the last answer arrives
    await until(lambda: runner.slots.busy == 0 or task.done())
    assert not task.done()
    assert runner.unhealthy == ""
    runner.stop()
    assert await task == []
    assert engine.unasked == []


@pytest.mark.looptime
@examples(2)
@given(polls=st.lists(batches | batches | noise, min_size=1, max_size=8), seed=st.integers(0, 2**32))
@example(polls=[[job("good-1"), JOB | {"jobType": "known"}]], seed=0)
async def test_every_job_that_can_be_read_is_completed(polls: list[list[Any] | tuple[int, bytes]], seed: int) -> None:
    engine = Engine(polls)
    async with running(engine, seed):
        pass
    names = [one["id"] for one in engine.given if isinstance(one, dict) and isinstance(one.get("id"), str)]
    assert {name for name in engine.completed if "good" in name} == {name for name in names if "good" in name}


@pytest.mark.looptime
async def test_jobs_beyond_the_requested_number_are_left_to_expire() -> None:
    body = to_bytes({"jobs": [job(f"j{number}") for number in range(2 * SLOTS)]})
    engine = Engine([(200, body)])
    async with running(engine) as runner:
        await until(lambda: runner.slots.busy > 0)
        assert runner.unhealthy == ""
    assert sorted(engine.completed) == [f"j{number}" for number in range(SLOTS)]
