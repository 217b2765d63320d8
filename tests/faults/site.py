"""An engine in this process and real worker processes on it: one for each job type, or as many as a fault needs."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import msgspec

from faults.ledger import NOTES, Ledger, judge
from faults.result import Jobs, together
from faults.suite import Trial
from integration.worker.conftest import worker_process
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.definition import Definition
from unit.worker.engines import definition
from waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from integration.worker.conftest import Worker

Transport = Literal["rest", "grpc"]
TRANSPORTS: tuple[Transport, ...] = ("rest", "grpc")
STEPS = 3
RETRIES = 2
SLOTS = 4
DRAIN_S = 4.0
"""What the workers have after SIGTERM."""
DRAIN_SLACK_S = 15.0
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
    ledger: Ledger
    settings: dict[str, dict[str, str]]
    """Of the workers, by job type: each job type has instances of its own."""
    fails: bool = True
    """In every fifth instance each job's first run fails, which costs it one of `RETRIES` retries; or in none."""
    environment: dict[str, str] = field(default_factory=dict)
    """Beside their settings."""
    running: dict[Worker, str] = field(default_factory=dict)
    """Those workers that run, and their job types."""
    victims: dict[int, int] = field(default_factory=dict)
    """Processes that a fault has killed or held past the lease of what they ran → how many notes there were by then."""
    crashes: int = 0
    drains: list[float] = field(default_factory=list)
    recovers_since: float = 0.0
    """When the fault was over, or what it left behind could begin to recover: epoch seconds, as the engine's."""
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def start(self, count: int, seconds: float) -> None:
        """Start so many instances of `STEPS` jobs, which take so many seconds each: for the job types in turn."""
        for n in range(count):
            job_type = list(self.settings)[n % len(self.settings)]
            variables = {"seconds": seconds, "fails": self.fails and n % 5 == 0}
            self.engine.state.start(job_type, variables=variables)

    def one_of_each(self) -> list[Worker]:
        """One worker of each job type."""
        return [*{job_type: worker for worker, job_type in self.running.items()}.values()]

    def held(self, worker: Worker) -> set[str]:
        """The jobs that a worker runs now."""
        found: set[str] = set()
        for note in self.ledger.notes:
            if note.process == worker.process.pid:
                (found.add if note.what == "begin" else found.discard)(note.job)
        return found

    def block(self, worker: Worker, seconds: float) -> None:
        """Let the next job of a worker block its event loop."""
        (self.trial.folder / f"block-{worker.process.pid}").write_text(f"{seconds}")

    def done(self) -> int:
        """How many instances have ended well."""
        return sum(instance.status == "COMPLETED" for instance in self.engine.state.instances.values())

    def keep_journals(self) -> None:
        """Give the workers of each job type a journal, which the next one finds."""
        for job_type, settings in self.settings.items():
            settings["journal_dir"] = f"{self.trial.folder / f'journal-{job_type}'}"

    async def progress(self, count: int) -> None:
        """Wait until so many more instances are done, or all."""
        wanted = min(self.done() + count, len(self.engine.state.instances))
        await self.until(lambda: self.done() >= wanted)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so. Raises TimeoutError once it never will be."""
        await until(condition, 2 * (self.trial.size.lease + self.trial.size.sweep) + WITHIN_S, 0.02)

    def kill(self, worker: Worker) -> None:
        """End a worker at once."""
        del self.running[worker]
        worker.process.kill()
        self.hurt(worker)

    def hurt(self, *workers: Worker) -> None:
        """These workers stand still, or soon will: what they run will run elsewhere too, from now on."""
        self.ledger.read()
        self.victims |= {worker.process.pid: len(self.ledger.notes) for worker in workers}
        self.recovers_since = time.time()

    async def stop(self, worker: Worker) -> None:
        """End a worker in order, and note how long that takes."""
        del self.running[worker]
        began = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        self.crashes += await worker.ended() != 0
        self.drains.append(time.monotonic() - began)

    async def run(self, job_type: str) -> Worker:
        """Start a worker; `suffer` stops it in order at the end, if it is still there."""
        return await self._stack.enter_async_context(self._worker(job_type))

    @asynccontextmanager
    async def _worker(self, job_type: str) -> AsyncIterator[Worker]:
        settings = {
            "job_types": job_type,
            "lease": f"{self.trial.size.lease:g}s",
            "drain_timeout": f"{DRAIN_S:g}s",
            "parallelism": f"{SLOTS}",
            **self.settings[job_type],
        }
        code = HANDLERS.replace("JOB_TYPES", f"{list(self.settings)}")
        folder = self.trial.folder
        async with worker_process(folder, self.engine.url, self.environment, code=code, **settings) as worker:
            await worker.started()
            self.running[worker] = job_type
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
            await self.progress(jobs // 10)
            self.start(jobs - jobs // 2, seconds)
            await fault()
            self.recovers_since = self.recovers_since or time.time()
            with suppress(TimeoutError):  # what never is done is lost, as the ledger will say
                await self.until(lambda: self.done() == len(self.engine.state.instances))
        self.ledger.read()
        last = max(instance.completed_at or 0.0 for instance in self.engine.state.instances.values())
        return Jobs(
            **judge(self.engine.state, self.ledger.notes, steps=STEPS, retries=RETRIES, victims=self.victims),
            recovery_s=max(0.0, last - self.recovers_since),
            drain_s=max(self.drains, default=None),
            overdrawn=sum(seconds > DRAIN_S + DRAIN_SLACK_S for seconds in self.drains),
            crashes=self.crashes,
        )


async def nothing() -> None:
    """The fault that is none."""


async def over_each(trial: Trial, play: Callable[[Transport, Trial], Awaitable[Jobs]]) -> Jobs:
    """Play half of the jobs over REST and half over gRPC, at the same time, each with an engine of its own: a fault of
    the engine's calls then meets those of both."""

    async def half(transport: Transport) -> Jobs:
        folder = trial.folder / transport
        folder.mkdir()
        return await play(transport, Trial(folder, replace(trial.size, jobs=trial.size.jobs // 2)))

    return together(await asyncio.gather(*map(half, TRANSPORTS)))


@asynccontextmanager
async def site(trial: Trial, *transports: Transport) -> AsyncIterator[Site]:
    """A site where jobs are polled for, over each of the transports: REST and gRPC if none is named."""
    async with DevEngine(grpc_port=0, lease=trial.size.lease, sweep=trial.size.sweep) as engine:
        where = {"engine_url": engine.url, "engine_grpc_target": engine.grpc_target}
        settings: dict[str, dict[str, str]] = {name: {"transport": name, **where} for name in transports or TRANSPORTS}
        async with settled(trial, engine, settings) as here:
            yield here


@asynccontextmanager
async def settled(trial: Trial, engine: DevEngine, settings: dict[str, dict[str, str]]) -> AsyncIterator[Site]:
    """A site on an engine that runs; each job type gets a definition of its own name, of `STEPS` jobs."""
    for job_type in settings:
        steps = {**definition(*[job_type] * STEPS, retries=RETRIES), "id": job_type}
        engine.state.definitions.upload(msgspec.convert(steps, Definition))
    with closing(Ledger(trial.folder)) as ledger:
        yield Site(trial, engine, ledger, settings)
