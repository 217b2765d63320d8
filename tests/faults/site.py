"""An engine in this process and real worker processes on it: one for each job type, or as many as a fault needs."""

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
    from collections.abc import AsyncIterator, Awaitable, Callable

    from faults.suite import Trial
    from integration.worker.conftest import Worker

STEPS = 3
RETRIES = 2
SLOTS = 16
DRAIN_S = 4.0
"""What the workers have after SIGTERM."""
DRAIN_SLACK_S = 10.0
"""What a busy machine may add to it."""
WITHIN_S = 60.0
"""What is not done so long after two leases never will be."""

HANDLERS = (
    """
import asyncio, time
from pathlib import Path
from rochallor_worker import Job, Registry
"""
    + NOTES
    + f"""
registry = Registry()

async def work(job: Job) -> None:
    note("begin", job)
    await asyncio.sleep(job.variables["seconds"])
    if (order := Path(f"block-{{os.getpid()}}")).exists():
        seconds = float(order.read_text())
        order.unlink()
        time.sleep(seconds)
    if job.variables["fails"] and job.retries_remaining == {RETRIES}:
        note("raise", job)
        raise ValueError("not yet")
    note("end", job)

for job_type in JOB_TYPES:
    registry.handler(job_type)(work)
"""
)


@dataclass
class Site:
    """One engine, and what happened to its workers so far."""

    trial: Trial
    engine: DevEngine
    settings: dict[str, dict[str, str]]
    """Of the workers, by job type: each job type has instances of its own."""
    fails_every: int = 5
    """In every so many-th instance each job's first run fails, which costs it one of `RETRIES` retries."""
    environment: dict[str, str] = field(default_factory=dict)
    """Beside their settings."""
    running: list[Worker] = field(default_factory=list)
    victims: set[int] = field(default_factory=set)
    """Processes that a fault has killed or held past the lease of what they ran."""
    crashes: int = 0
    drains: list[float] = field(default_factory=list)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def start(self, count: int, seconds: float) -> None:
        """Start so many instances of `STEPS` jobs, which take so many seconds each: for the job types in turn."""
        for n in range(count):
            job_type = list(self.settings)[n % len(self.settings)]
            variables = {"seconds": seconds, "fails": n % self.fails_every == 0}
            self.engine.state.start(job_type, variables=variables)

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

    def kill(self, worker: Worker) -> None:
        """End a worker at once."""
        self.victims.add(worker.process.pid)
        self.running.remove(worker)
        worker.process.kill()

    async def stop(self, worker: Worker) -> None:
        """End a worker in order, and note how long that takes."""
        self.running.remove(worker)
        began = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        self.crashes += await worker.ended() != 0
        self.drains.append(time.monotonic() - began)

    async def run(self, job_type: str, **settings: str) -> Worker:
        """Start a worker; `suffer` stops it in order at the end, if it is still there."""
        return await self._stack.enter_async_context(self._worker(job_type, settings))

    @asynccontextmanager
    async def _worker(self, job_type: str, settings: dict[str, str]) -> AsyncIterator[Worker]:
        ours = {
            "job_types": job_type,
            "lease": f"{self.trial.size.lease:g}s",
            "drain_timeout": f"{DRAIN_S:g}s",
            "parallelism": f"{SLOTS}",
            **self.settings[job_type],
            **settings,
        }
        code = HANDLERS.replace("JOB_TYPES", f"{list(self.settings)}")
        folder = self.trial.folder
        async with worker_process(folder, self.engine.url, self.environment, code=code, **ours) as worker:
            await worker.started()
            self.running.append(worker)
            yield worker
            if worker in self.running and worker.process.returncode is None:
                await self.stop(worker)
            elif worker in self.running:
                self.crashes += 1

    async def suffer(self, fault: Callable[[], Awaitable[object]], *, seconds: float = 0.02, each: int = 1) -> Jobs:
        """Run half of the trial's instances; when some are done, start the others and do the fault. Count at the end.

        A job takes so many seconds; each job type has so many workers.
        """
        jobs = self.trial.size.jobs
        async with self._stack:
            for job_type in [*self.settings] * each:
                await self.run(job_type)
            self.start(jobs // 2, seconds)
            await self.until(lambda: self.done() > jobs // 10)
            self.start(jobs - jobs // 2, seconds)
            await fault()
            ended_at = time.monotonic()
            await self.until(lambda: self.done() == jobs)  # what never is done is lost, as the ledger will say
            recovery_s = time.monotonic() - ended_at
        return Jobs(
            **judge(self.engine.state, self.noted(), steps=STEPS, retries=RETRIES, victims=self.victims),
            recovery_s=recovery_s,
            drain_s=max(self.drains, default=None),
            overdrawn=sum(seconds > DRAIN_S + DRAIN_SLACK_S for seconds in self.drains),
            crashes=self.crashes,
        )


@asynccontextmanager
async def site(trial: Trial) -> AsyncIterator[Site]:
    """A site where jobs are polled for, over REST and over gRPC."""
    async with DevEngine(grpc_port=0, lease=trial.size.lease, sweep=trial.size.sweep) as engine:
        here = Site(trial, engine, {"rest": {}, "grpc": {}})
        for transport, settings in here.settings.items():
            settings |= {"transport": transport, "engine_url": engine.url, "engine_grpc_target": engine.grpc_target}
            define(engine, transport)
        yield here


def define(engine: DevEngine, job_type: str) -> None:
    """Upload a definition of `STEPS` jobs of a type, named like the type."""
    steps = {**definition(*[job_type] * STEPS, retries=RETRIES), "id": job_type}
    engine.state.definitions.upload(msgspec.convert(steps, Definition))
