"""A runner against a faulty engine, and helpers for tests of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from rochallor_worker import InstanceStatus, Job, Registry, Runner
from rochallor_worker.events import Event
from rochallor_worker.handlers.invocation import invoke, log_failed
from rochallor_worker.outcome import Failed, Outcome, Postponed
from rochallor_worker.registry import Handler
from unit.worker.engines import FaultyEngine, definition, loop_time


def registry_of(**handlers: Callable[[Job], Any]) -> Registry:
    registry = Registry()
    for job_type, function in handlers.items():
        registry.handler(job_type)(function)
    return registry


async def invoke_and_log(handler: Handler, job: Job, *rest: Any, **further: Any) -> Outcome | Postponed | None:
    """Invoke a handler, and log a failure as the worker does where it is reported."""
    outcome = await invoke(handler, job, *rest, **further)
    if isinstance(outcome, Failed):
        log_failed(job, outcome)
    return outcome


async def nothing(_: Job) -> None:
    return None


@asynccontextmanager
async def running(
    engine: FaultyEngine, registry: Registry, **options: Any
) -> AsyncIterator[tuple[Runner, list[Event]]]:
    runner = Runner(engine, registry, worker_id="w", clock=loop_time, **options)
    events: list[Event] = []
    runner.observers.append(events.append)
    task = asyncio.create_task(runner.run())
    try:
        yield runner, events
    finally:
        runner.stop()
        await task


@asynccontextmanager
async def sweeping(engine: FaultyEngine, every: float = 15) -> AsyncIterator[None]:
    """The engine sweeps for leases that have ended, as often as the real one does."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(every)
            engine.state.sweep()

    task = asyncio.create_task(sweep())
    try:
        yield
    finally:
        task.cancel()


async def start(engine: FaultyEngine, *job_types: str, count: int = 1, retries: int = 0) -> list[str]:
    await engine.upload_definition(definition(*job_types, retries=retries))
    return [(await engine.start_instance("d", {"n": n})).id for n in range(count)]


def finished(engine: FaultyEngine, status: InstanceStatus) -> int:
    return sum(instance.status == status for instance in engine.state.instances.values())
