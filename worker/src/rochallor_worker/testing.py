"""For tests of handlers, and of code that calls the engine. Needs pytest.

    from rochallor_worker.testing import Completed, WorkerHarness

    def test_charge():
        outcome = asyncio.run(WorkerHarness(registry).run("charge-card", {"amount": 3}))
        assert outcome == Completed({"charged": True})

pytest finds two fixtures by itself (pytest_plugin.py): `engine`, a dev engine at `engine.url` for the duration of the
test, and `worker_harness`, which is `WorkerHarness`. `engine.advance(seconds)` lets time pass at once, here and in the
harness, so a test of a three-day timer takes milliseconds.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.engine.client import Instance, InstanceStatus
from rochallor_worker.execution.limit import Limit
from rochallor_worker.execution.runner import Runner
from rochallor_worker.handlers.invocation import invoke, log_failed
from rochallor_worker.handlers.lifespan import Lifespan, Worker, living
from rochallor_worker.handlers.processes import Processes
from rochallor_worker.job import Job
from rochallor_worker.outcome import Completed, Failed, Outcome, Postponed
from rochallor_worker.pytest_plugin import engine
from rochallor_worker.registry import Registry

__all__ = [
    "Completed",
    "DevEngine",
    "Failed",
    "FakeEngine",
    "Outcome",
    "Postponed",
    "WorkerHarness",
    "dev_engine",
    "engine",
]

CLOSE_SECONDS = 3.0
"""How long lifespans may take to close."""
LEASE_SECONDS = 30.0
_LIVE = {InstanceStatus.ACTIVE, InstanceStatus.WAITING}


class WorkerHarness:
    """Runs handlers like a worker, without an engine (`run`) or against one in this process (`working`).

    Lifespans and middleware of the registry run too. `state`, if given, is what handlers and middleware get in place of
    what the lifespans yield, which are not opened then.
    """

    def __init__(self, registry: Registry, *, state: Mapping[str, Any] | None = None) -> None:
        self._registry = copy(registry)
        for job_type in registry.job_types:  # a failure would wait for a moment, to see whether others fail too
            self._registry.limit(job_type, lambda limits: replace(limits, breaker=None))
        if state is not None:
            self._registry.lifespans = (_yielding(state),)
        self.engine = FakeEngine()

    async def run(
        self,
        job_type: str,
        variables: Mapping[str, Any] | None = None,
        *,
        job_id: str = "job",
        instance_id: str = "instance",
        step_execution_id: str = "step-execution",
        retries_remaining: int = 0,
        attempt: int = 1,
        timeout: float | None = None,
    ) -> Outcome | Postponed:
        """Run the handler of `job_type` on a job with these variables; return what would be reported to the engine.

        The lifespans are opened before it and closed after it. `step_execution_id` is the job's `key`. `timeout`, in
        seconds, replaces the handler's own. Raises `LookupError` for a job type without a handler, and `StartError` if
        a lifespan cannot be opened.
        """
        handler = self._registry.get(job_type)
        if handler is None:
            known = ", ".join(self._registry.job_types)
            raise LookupError(f"no handler for job type {job_type!r}; registered: {known}")
        job = Job(
            id=job_id,
            instance_id=instance_id,
            step_execution_id=step_execution_id,
            job_type=job_type,
            variables=dict(variables or {}),
            retries_remaining=retries_remaining,
            attempt=attempt,
            _limit=lambda: limit.at,  # of the run, which begins once the lifespans are open
            _fetch_instance=self.engine.get_instance,
        )
        threads, processes = ThreadPoolExecutor(1), Processes(1)
        try:
            worker = Worker("harness", self._registry.job_types, self.engine)
            async with living(self._registry.lifespans, worker, lambda: CLOSE_SECONDS) as life:
                state = await life.state
                self._registry.check_state(state)
                limit = Limit(timeout or handler.timeout or LEASE_SECONDS, clock=time.monotonic)
                outcome = await invoke(handler, job, threads, limit, state=state, processes=processes)
            assert outcome is not None, "without a lease none is lost"  # noqa: S101
            if isinstance(outcome, Failed):
                log_failed(job, outcome)
            return outcome
        finally:
            threads.shutdown(wait=False)
            await processes.aclose()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[FakeEngine]:
        """Run a worker with these handlers against an engine in this process, until the block ends.

        The block begins when the lifespans are open. Raises `StartError` if one cannot be opened.
        """
        runner = Runner(self.engine, self._registry, worker_id="harness", poll_interval=0.01)
        started = asyncio.Event()
        running = asyncio.create_task(runner.run(started.set))
        starting = asyncio.create_task(started.wait())
        try:
            await asyncio.wait({running, starting}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                yield self.engine
        finally:
            starting.cancel()
            runner.stop()
            await running

    async def run_instance(
        self,
        definition: str | Mapping[str, Any],
        variables: Mapping[str, Any] | None = None,
        within: float = 30.0,
    ) -> Instance:
        """Start an instance and wait at most `within` seconds until it has ended; return it. Raises `AssertionError`.

        `definition` is uploaded first, unless it is the id of one that was. Needs a worker: call it in `working`.
        """
        if not isinstance(definition, str):
            definition = (await self.engine.upload_definition(definition)).id
        return await self.finish((await self.engine.start_instance(definition, variables or {})).id, within)

    async def finish(self, instance_id: str, within: float = 30.0) -> Instance:
        """Wait at most `within` seconds until an instance has ended; return it. Raises `AssertionError` after that."""
        return await self._until(instance_id, within, None)

    async def reach(self, instance_id: str, step_id: str, within: float = 30.0) -> Instance:
        """Wait at most `within` seconds until an instance is at a step; return it.

        Raises `AssertionError` if it isn't there in time, or as soon as it has ended.
        """
        return await self._until(instance_id, within, step_id)

    async def _until(self, instance_id: str, within: float, step_id: str | None) -> Instance:
        """Wait until an instance is at a step or, without one, has ended."""
        end = time.monotonic() + within
        while True:
            instance = await self.engine.get_instance(instance_id)
            at, ended = list(instance.current_step_ids or ()), instance.status not in _LIVE
            if ended if step_id is None else step_id in at:
                return instance
            if ended:
                why = f" ({instance.failure_reason})" if instance.failure_reason else ""
                raise AssertionError(f"instance {instance_id} is {instance.status}{why}, never reached {step_id!r}")
            if time.monotonic() >= end:
                hint = ": no handler for its job type?" if instance.status is InstanceStatus.ACTIVE else ""
                raise AssertionError(
                    f"instance {instance_id} is still {instance.status} at {at} after {within:g} s{hint}"
                )
            await asyncio.sleep(0.005)


def _yielding(state: Mapping[str, Any]) -> Lifespan:
    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[Mapping[str, Any]]:
        yield state

    return lifespan


@contextmanager
def dev_engine() -> Iterator[DevEngine]:
    """A dev engine on a free port, with a loop and thread of its own: for sync and async tests alike."""
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
        yield started.result(timeout=60)
    finally:
        stop.set()
        thread.join()
