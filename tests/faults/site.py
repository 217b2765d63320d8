"""An engine in this process and real workers on it, one over REST and one over gRPC, each with jobs of its own."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from faults.ledger import NOTES, Note, judge, notes
from faults.result import Jobs
from integration.worker.conftest import worker_process
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.definition import Definition
from unit.worker.engines import definition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from faults.suite import Trial
    from integration.worker.conftest import Worker

TRANSPORTS = ("rest", "grpc")
STEPS = 3
RETRIES = 2
DRAIN_S = 4.0
"""What the workers have after SIGTERM."""
DRAIN_SLACK_S = 5.0
"""What a busy machine may add to it."""
WITHIN_S = 60.0
"""What is not done so long after two leases never will be."""

HANDLERS = (
    """
import asyncio
from rochallor_worker import Job, Registry
"""
    + NOTES
    + f"""
registry = Registry()

async def work(job: Job) -> None:
    note("begin", job)
    await asyncio.sleep(job.variables["seconds"])
    if job.variables["fails"] and job.retries_remaining == {RETRIES}:
        note("raise", job)
        raise ValueError("not yet")
    note("end", job)

for job_type in {TRANSPORTS}:
    registry.handler(job_type)(work)
"""
)


@dataclass
class Site:
    """One engine, and what happened to its workers so far."""

    trial: Trial
    engine: DevEngine
    victims: set[int] = field(default_factory=set)
    """Processes that a fault has killed or held past the lease of what they ran."""
    crashes: int = 0
    drains: list[float] = field(default_factory=list)
    _told: set[int] = field(default_factory=set)

    def start(self, count: int, seconds: float = 0.02) -> None:
        """Start so many instances, of `STEPS` jobs that take so many seconds, for each transport in turn.

        In every fifth each job's first run fails, which costs it one of `RETRIES` retries.
        """
        for n in range(count):
            variables = {"seconds": seconds, "fails": n % 5 == 0}
            self.engine.state.start(TRANSPORTS[n % 2], variables=variables)

    def noted(self) -> list[Note]:
        """What handlers noted so far."""
        return notes(self.trial.folder)

    def done(self) -> int:
        """How many instances have ended well."""
        return sum(instance.status == "COMPLETED" for instance in self.engine.state.instances.values())

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Wait until something is so; return whether it came to be."""
        try:
            async with asyncio.timeout(2 * (self.trial.size.lease + self.trial.size.sweep) + WITHIN_S):
                while not condition():  # noqa: ASYNC110 — other processes' doings
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    async def until_done(self, count: int) -> None:
        """Wait until so many instances have ended well, or never will: the ledger then says that jobs are lost."""
        await self.until(lambda: self.done() >= count)

    def kill(self, worker: Worker) -> None:
        """End a worker at once."""
        self.victims.add(worker.process.pid)
        worker.process.kill()

    async def stop(self, worker: Worker) -> None:
        """End a worker in order, and note how long that takes."""
        self._told.add(worker.process.pid)
        began = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        self.crashes += await worker.ended() != 0
        self.drains.append(time.monotonic() - began)

    @asynccontextmanager
    async def worker(self, transport: str, **settings: str) -> AsyncIterator[Worker]:
        """A worker process that has started; stopped in order at the end, if it is still there."""
        size = self.trial.size
        ours = {
            "transport": transport,
            "job_types": transport,
            "engine_grpc_target": self.engine.grpc_target,
            "lease": f"{size.lease:g}s",
            "drain_timeout": f"{DRAIN_S:g}s",
            "parallelism": "16",
        }
        async with worker_process(self.trial.folder, self.engine.url, code=HANDLERS, **(ours | settings)) as worker:
            await worker.started()
            yield worker
            if worker.process.pid not in self._told | self.victims:
                if worker.process.returncode is None:
                    await self.stop(worker)
                else:
                    self.crashes += 1

    @asynccontextmanager
    async def workers(self, **settings: str) -> AsyncIterator[list[Worker]]:
        """One worker for each transport."""
        async with AsyncExitStack() as stack:
            opening = [stack.enter_async_context(self.worker(transport, **settings)) for transport in TRANSPORTS]
            yield [await worker for worker in opening]

    def figures(self, recovery_s: float) -> Jobs:
        """What it cost, once all workers have ended."""
        return Jobs(
            **judge(self.engine.state, self.noted(), steps=STEPS, retries=RETRIES, victims=self.victims),
            recovery_s=recovery_s,
            drain_s=max(self.drains, default=None),
            overdrawn=sum(seconds > DRAIN_S + DRAIN_SLACK_S for seconds in self.drains),
            crashes=self.crashes,
        )


@asynccontextmanager
async def site(trial: Trial) -> AsyncIterator[Site]:
    """An engine with a definition for each transport."""
    async with DevEngine(grpc_port=0, lease=trial.size.lease, sweep=trial.size.sweep) as engine:
        for transport in TRANSPORTS:
            steps = {**definition(*[transport] * STEPS, retries=RETRIES), "id": transport}
            engine.state.definitions.upload(msgspec.convert(steps, Definition))
        yield Site(trial, engine)
