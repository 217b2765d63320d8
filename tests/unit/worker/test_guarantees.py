"""The guarantees, against every fault at once: lost requests and answers, 5xx, delays, leases that end, killed workers.

Two workers with journals share one engine, of each generation and of two at once; what goes wrong is drawn by
hypothesis; time is virtual. Then the faults end, and every instance must have ended as its handlers say, once.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rochallor_worker import Job, NonRetryableError, Runner
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import AnswerLost, InternalError, Unreachable
from rochallor_worker.execution.journal import MAX_CRASHES
from unit.worker.engines import FLEETS, Fleet, definition, loop_time, state_of
from unit.worker.killable import KillableJournal
from unit.worker.running import registry_of
from waiting import until

T = TypeVar("T")

SLOTS = 4
RETRIES = 3
FAULTS = ("request lost", "answer lost", "5xx", "slow", "fine")


class Connection(FakeEngine):
    """One worker's connection to the shared engine: it has faults, and ends with its worker."""

    def __init__(self, state: EngineState, random: Random, weights: Sequence[int]) -> None:
        super().__init__(state)
        self.random = random
        self.weights = weights
        self.room: Callable[[], int] = lambda: 0
        self.dead = asyncio.Event()
        self._completing: set[str] = set()
        self._completed: set[str] = set()

    async def call(self, name: str, action: Callable[[], T]) -> T:
        [fault] = self.random.choices(FAULTS, self.weights)
        await self._travel(self.random.uniform(0, 0.4 if fault == "slow" else 0.01))
        if fault == "request lost":
            raise Unreachable(f"{name}: refused")
        if fault == "5xx":
            raise InternalError(f"{name}: 500")
        answer = await super().call(name, action)
        await self._travel(self.random.uniform(0, 4 if fault == "slow" else 0.01))
        if fault == "answer lost":
            raise AnswerLost(f"{name}: timeout")
        return answer

    async def _travel(self, seconds: float) -> None:
        """Nothing passes a dead connection, in either direction."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.dead.wait()
        if self.dead.is_set():
            await asyncio.Event().wait()

    async def poll_jobs(
        self, worker_id: str, job_types: Sequence[str], max_jobs: int, lease: float | None = None
    ) -> list[ClaimedJob]:
        assert max_jobs <= self.room(), "more jobs asked for than slots are free"
        return await super().poll_jobs(worker_id, job_types, max_jobs, lease)

    async def complete_job(self, job_id: str, worker_id: str, variables: Any) -> None:
        key = self.state.jobs[job_id].execution.id
        assert key not in self._completing, "two completes of one job in flight"
        self._completing.add(key)
        self._completed.add(job_id)
        try:
            await super().complete_job(job_id, worker_id, variables)
        finally:
            self._completing.discard(key)

    async def fail_job(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        assert job_id not in self._completed, "a fail after a complete"
        await super().fail_job(job_id, worker_id, message, retryable=retryable)


class Worker:
    """A worker that can be killed and started again with its journal."""

    def __init__(self, name: str, state: EngineState, folder: Path, random: Random, weights: Sequence[int]) -> None:
        self._name, self._state, self._folder = name, state, folder
        self._random, self._weights = random, weights
        self.start()

    def start(self) -> None:
        self.connection = Connection(self._state, self._random, self._weights)
        self._journal = KillableJournal(self._folder)
        handlers = registry_of(a=self._handle, b=self._handle)
        self._runner = Runner(
            self.connection,
            handlers,
            worker_id=self._name,
            parallelism=SLOTS,
            journal=self._journal,
            clock=loop_time,
            random=self._random,
        )
        slots = self._runner.slots
        self.connection.room = lambda: slots.total - slots.busy
        self._task = asyncio.create_task(self._runner.run())

    async def kill(self) -> None:
        self.connection.dead.set()
        self._journal.kill()
        victims = [self._task, *self._runner._in_flight.tasks]
        for task in victims:
            task.cancel()
        await asyncio.gather(*victims, return_exceptions=True)

    async def stop(self) -> None:
        self._runner.stop()
        await self._task

    async def _handle(self, job: Job) -> dict[str, Any]:
        kind = job.variables["kind"]
        await asyncio.sleep({"long": 20.0, "too long": 40.0}.get(kind, 0.05) if job.job_type == "a" else 0.05)
        if kind == "final" and job.job_type == "b":
            raise NonRetryableError("never")
        if kind == "twice" and job.job_type == "a" and job.retries_remaining > RETRIES - 2:
            raise ValueError("not yet")
        return {job.job_type: True}


KINDS = {"good": "COMPLETED", "twice": "COMPLETED", "final": "FAILED", "long": "COMPLETED", "too long": "FAILED"}
"""How an instance ends. "too long" is for a lease that cannot be renewed; else the faults decide."""


def spares_bystanders(kills: list[tuple[int, float]]) -> bool:
    """Whether no worker is killed so often that a job it ran each time is failed permanently as the culprit."""
    return all(count < MAX_CRASHES for count in Counter(victim for victim, _ in kills).values())


@pytest.mark.looptime
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fleet", FLEETS)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12),
    weights=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    kills=st.lists(st.tuples(st.integers(0, 1), st.floats(0.1, 60)), max_size=3).filter(spares_bystanders),
    seed=st.integers(0, 2**32),
)
@example(  # a suspect of two crashes waits for others, until its lease has nearly ended
    kinds=["long", "final", "twice", "long", "final", "long", "too long", "good", "too long", "twice", "long", "good"],
    weights=[0, 2, 2, 3],
    kills=[(1, 3.368369601564988), (1, 50.87209498313037), (0, 0.5)],
    seed=6685279,
)
async def test_whatever_goes_wrong_each_job_ends_once_and_as_its_handler_decides(
    tmp_path_factory: pytest.TempPathFactory,
    fleet: Fleet,
    kinds: list[str],
    weights: list[int],
    kills: list[tuple[int, float]],
    seed: int,
) -> None:
    random = Random(seed)
    state = state_of(fleet)
    calm = FakeEngine(state)
    await calm.upload_definition(definition("a", "b", retries=RETRIES))
    started = {(await calm.start_instance("d", {"kind": kind})).id: kind for kind in kinds}
    folder = tmp_path_factory.mktemp("journals")
    workers = [Worker(f"w{n}", state, folder / str(n), random, [*weights, 8]) for n in range(2)]
    sweeping = asyncio.create_task(sweep(state))
    for victim, after in kills:
        await asyncio.sleep(after)
        await workers[victim].kill()
        workers[victim].start()
    await asyncio.sleep(random.uniform(0, 120))
    for worker in workers:
        worker.connection.weights = worker._weights = [0, 0, 0, 0, 1]
    await until(lambda: all(state.instances[instance].status != "ACTIVE" for instance in started), within=3600, every=1)
    for worker in workers:
        await worker.stop()
    sweeping.cancel()
    for instance_id, kind in started.items():
        ends = {KINDS[kind], "COMPLETED"} if kind == "too long" and fleet in {"D", "rolling"} else {KINDS[kind]}
        assert state.instances[instance_id].status in ends, kind
    last_attempts = {job.execution.id: job for job in state.jobs.values()}
    for job in last_attempts.values():
        kind = job.instance.variables["kind"]
        if kind != "too long" or fleet in {"A", "C"}:
            check(kind, job.job_type, job.status, job.retries_remaining)


def check(kind: str, job_type: str, status: str, retries_remaining: int) -> None:
    if (kind, job_type) in {("too long", "a"), ("final", "b")}:
        assert status == "FAILED"
    else:
        assert status == "COMPLETED"
    spent = RETRIES - retries_remaining
    if kind == "too long":  # each run fails at the end of its lease
        assert spent == (RETRIES if job_type == "a" else 0)
    else:
        assert spent == (2 if (kind, job_type) == ("twice", "a") else 0), "a retry was spent that no handler asked for"


async def sweep(state: EngineState) -> None:
    while True:
        await asyncio.sleep(15)
        state.sweep()
