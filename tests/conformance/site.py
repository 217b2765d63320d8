"""Where a promise is tested: an engine, and definitions, job types and workers of its own."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rochallor_worker import Registry, Runner
from rochallor_worker.doctor.facts import Answer
from rochallor_worker.engine.client import InstanceStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rochallor_worker import Job
    from rochallor_worker.doctor.facts import Facts
    from rochallor_worker.engine.client import EngineClient, Instance

SHORT_LEASE = 5.0
"""The shortest that can be requested."""
SWEEP_SECONDS = 15.0
"""How often the engine checks for expired leases."""
UNFINISHED = {InstanceStatus.ACTIVE, InstanceStatus.WAITING}
AT_ONCE = 16
"""How many instances are started at a time."""


class Broken(Exception):  # noqa: N818 — named for the state it describes
    """A promise was not kept. The text says what happened instead."""


@dataclass
class Site:
    """An engine, what is known of it, and a name that nothing else has there."""

    engine: EngineClient
    facts: Facts
    name: str
    transport: str
    runs: list[Job] = field(default_factory=list)
    """Every run of a handler, in order."""

    @property
    def renewable(self) -> bool:
        return self.facts.renewable is Answer.YES

    @property
    def lease(self) -> float:
        """The lease that a worker requests: as short as possible."""
        return SHORT_LEASE if self.facts.lease_on_request is Answer.YES else self.facts.lease

    async def start(self, count: int = 1, *, tasks: int = 1, retries: int = 0) -> list[Instance]:
        """Start instances of a definition with `tasks` tasks in a row, each with a job type of its own."""
        types = [f"{self.name}-{number}" for number in range(tasks)]
        steps: list[dict[str, Any]] = [
            {"id": name, "name": name, "type": "SERVICE_TASK", "jobType": name, "retryCount": retries, "nextStep": then}
            for name, then in zip(types, [*types[1:], "end"], strict=True)
        ]
        steps.append({"id": "end", "name": "End", "type": "END"})
        await self.engine.upload_definition({"id": self.name, "name": self.name, "steps": steps})
        line = asyncio.Semaphore(AT_ONCE)

        async def one() -> Instance:
            async with line:
                return await self.engine.start_instance(self.name)

        return list(await asyncio.gather(*(one() for _ in range(count))))

    @asynccontextmanager
    async def working(
        self, handle: Callable[[Job], Any], *, tasks: int = 1, engine: EngineClient | None = None
    ) -> AsyncIterator[Runner]:
        """A worker that runs `handle` on the jobs of each task, perhaps over an `engine` that loses calls."""
        registry = Registry()
        for number in range(tasks):
            registry.handler(f"{self.name}-{number}")(self._recorded(handle))
        runner = Runner(
            engine or self.engine, registry, worker_id=self.name, parallelism=AT_ONCE, lease=self.lease, drain_timeout=5
        )
        running = asyncio.create_task(runner.run())
        try:
            yield runner
        finally:
            runner.stop()
            await running

    async def ended(self, instance: Instance) -> Instance:
        """Wait until an instance has ended, for as long as two expired leases may take. Raises `Broken`."""
        within = 2 * (self.lease + SWEEP_SECONDS) + 10
        try:
            async with asyncio.timeout(within):
                while (found := await self.engine.get_instance(instance.id)).status in UNFINISHED:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise Broken(f"the instance {instance.id} has not ended within {within:.0f} s") from None
        return found

    async def completed(self, instance: Instance) -> Instance:
        """Wait until an instance has ended. Raises `Broken` unless it is COMPLETED."""
        found = await self.ended(instance)
        if found.status is not InstanceStatus.COMPLETED:
            raise Broken(f"the instance {found.id} is {found.status}: {found.failure_reason}")
        return found

    def ran(self, times: int) -> None:
        """Raise `Broken` unless handlers ran exactly this many times."""
        if len(self.runs) != times:
            raise Broken(f"{len(self.runs)} runs instead of {times}")

    def _recorded(self, handle: Callable[[Job], Any]) -> Callable[[Job], Any]:
        if inspect.iscoroutinefunction(handle):

            async def in_loop(job: Job) -> Any:
                self.runs.append(job)
                return await handle(job)

            return in_loop

        def in_thread(job: Job) -> Any:
            self.runs.append(job)
            return handle(job)

        return in_thread
