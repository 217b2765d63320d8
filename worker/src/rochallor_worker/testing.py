"""For tests of handlers, and of what calls the engine. Needs pytest.

    from rochallor_worker.testing import Completed, WorkerHarness

    def test_charge():
        outcome = asyncio.run(WorkerHarness(registry).run("charge-card", {"amount": 3}))
        assert outcome == Completed({"charged": True})

With `from rochallor_worker.testing import engine` in conftest.py there is the fixture `engine`: a dev engine at
`engine.url` for the length of the test.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rochallor_worker.devengine import DevEngine
from rochallor_worker.engine.base import Instance, InstanceStatus
from rochallor_worker.engine.fake import FakeEngine
from rochallor_worker.execute import execute
from rochallor_worker.job import Job
from rochallor_worker.outcome import Completed, Failed, Outcome
from rochallor_worker.registry import Registry
from rochallor_worker.runner import Runner

__all__ = ["Completed", "DevEngine", "Failed", "FakeEngine", "Outcome", "WorkerHarness", "engine"]

LEASE_SECONDS = 30.0


class WorkerHarness:
    """Runs handlers as a worker would, without an engine (`run`) or against one in this process (`working`)."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.engine = FakeEngine()

    async def run(
        self,
        job_type: str,
        variables: Mapping[str, Any] | None = None,
        *,
        retries_remaining: int = 0,
        attempt: int = 1,
        timeout: float | None = None,
    ) -> Outcome:
        """Run the handler of `job_type` on a job with these variables and return what the engine would be told.

        `timeout` in seconds stands for the handler's own. Raises `LookupError` for a job type without handler.
        """
        handler = self._registry.get(job_type)
        if handler is None:
            known = ", ".join(self._registry.job_types)
            raise LookupError(f"no handler for job type {job_type!r}; registered: {known}")
        limit = timeout or handler.timeout or LEASE_SECONDS
        job = Job(
            id="job",
            instance_id="instance",
            step_execution_id="step-execution",
            job_type=job_type,
            variables=dict(variables or {}),
            retries_remaining=retries_remaining,
            attempt=attempt,
            deadline=time.monotonic() + limit,
            _fetch_instance=self.engine.get_instance,
        )
        threads = ThreadPoolExecutor(1)
        try:
            return await execute(handler, job, threads, lambda: None, limit)
        finally:
            threads.shutdown(wait=False)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[FakeEngine]:
        """A worker with these handlers against an engine in this process, until the block ends."""
        runner = Runner(self.engine, self._registry, worker_id="harness", poll_interval=0.01)
        running = asyncio.create_task(runner.run())
        try:
            yield self.engine
        finally:
            runner.stop()
            await running

    async def finish(self, instance_id: str, within: float = 30.0) -> Instance:
        """Wait, `within` seconds at most, until an instance has ended, and return it. Raises `TimeoutError`."""
        async with asyncio.timeout(within):
            while True:
                instance = await self.engine.get_instance(instance_id)
                if instance.status not in {InstanceStatus.ACTIVE, InstanceStatus.WAITING}:
                    return instance
                await asyncio.sleep(0.005)


@pytest.fixture
def engine() -> Iterator[DevEngine]:
    """A dev engine on a free port, on a loop and thread of its own: usable from sync and async tests alike."""
    started: Future[DevEngine] = Future()
    stop = threading.Event()

    async def serve() -> None:
        try:
            async with DevEngine() as running:
                started.set_result(running)
                await asyncio.to_thread(stop.wait)
        except OSError as error:
            started.set_exception(error)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="dev engine")
    thread.start()
    try:
        yield started.result(timeout=10)
    finally:
        stop.set()
        thread.join()
