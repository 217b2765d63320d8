"""An engine in this process and its worker processes: one for each job type, or as many as a fault needs."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import msgspec

from faults.handlers import RETRIES, HandlerName, handlers
from faults.ledger import Ledger, Row, judge
from faults.result import Jobs, together
from integration.worker.conftest import worker_process
from rochallor_worker.devengine.definition import Definition
from unit.worker.engines import definition
from waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from faults.suite import Trial
    from integration.worker.conftest import Worker
    from rochallor_worker.devengine import DevEngine
    from rochallor_worker.devengine.records import Instance

Transport = Literal["rest", "grpc"]
TRANSPORTS: tuple[Transport, ...] = ("rest", "grpc")
STEPS = 3
SLOTS = 4
DRAIN_S = 4.0
"""The workers' drain timeout."""
DRAIN_SLACK_S = 15.0
"""What a busy machine may add to the drain."""
WITHIN_S = 120.0


@dataclass
class Site:
    """An engine, and what happened to its workers so far."""

    trial: Trial
    engine: DevEngine
    ledger: Ledger
    settings: dict[str, dict[str, str]]
    """The workers', by job type; each job type has instances of its own."""
    fails: bool = True
    """Whether in every fifth instance each job's first run fails, which spends one of `RETRIES` retries."""
    handler: HandlerName = "work"
    patience: float = WITHIN_S
    """What is not done this long after two leases never will be."""
    environment: dict[str, str] = field(default_factory=dict)
    """The workers' environment beside their settings."""
    running: dict[Worker, str] = field(default_factory=dict)
    """The running workers, and their job types."""
    victims: dict[int, int] = field(default_factory=dict)
    """Processes that a fault has killed or held past the lease of their jobs → how many notes there were by then."""
    taken: set[str] = field(default_factory=set)
    """Keys of jobs that a fault has taken from their workers."""
    apart: set[str] = field(default_factory=set)
    """Instances that are part of the fault, and not judged."""
    crashes: int = 0
    drains: list[float] = field(default_factory=list)
    recovers_since: float = 0.0
    """When the fault was over, or recovery could begin: epoch seconds, like the engine's."""
    _workers: int = 0
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def start(self, count: int, seconds: float) -> None:
        """Start `count` instances of `STEPS` jobs of `seconds` each, for the job types in turn."""
        for n in range(count):
            job_type = list(self.settings)[n % len(self.settings)]
            self._start(job_type, seconds, fails=self.fails and n % 5 == 0)

    def start_one(self, job_type: str, seconds: float, *, kills: bool = False) -> Instance:
        """Start an instance of one job, which takes `seconds` and may then kill its worker."""
        return self._start(f"{job_type}-once", seconds, kills=kills)

    def start_some(self, each: int, seconds: float) -> set[str]:
        """Start `each` instances of one job for each job type; return the keys of the jobs."""
        started = [self.start_one(job_type, seconds) for job_type in self.settings for _ in range(each)]
        return {instance.history[0].id for instance in started}

    def _start(self, definition_id: str, seconds: float, *, fails: bool = False, kills: bool = False) -> Instance:
        variables = {"seconds": seconds, "fails": fails, "kills": kills}
        return self.engine.state.start(definition_id, variables=variables)

    def one_of_each(self) -> list[Worker]:
        """Return one worker of each job type."""
        return [*{job_type: worker for worker, job_type in self.running.items()}.values()]

    def held(self, worker: Worker) -> set[str]:
        """Return the keys of the jobs that a worker is running."""
        self.ledger.read()  # on a busy machine the loop may be late, and these jobs over
        found: set[str] = set()
        for note in self.ledger.notes:
            if note.process == worker.process.pid:
                (found.add if note.what == "begin" else found.discard)(note.job)
        return found

    def waiting(self) -> set[str]:
        """Return the keys of the jobs that a poll would get."""
        return {job.execution.id for job in self.engine.state.jobs.values() if job.status == "UNLOCKED"}

    def begun(self, but: Collection[Worker] = ()) -> set[str]:
        """Return the keys of the jobs begun by workers other than these."""
        pids = {worker.process.pid for worker in but}
        return {note.job for note in self.ledger.notes if note.what == "begin" and note.process not in pids}

    def stopped(self) -> set[str]:
        """Return the keys of the jobs with a cancelled run."""
        return {note.job for note in self.ledger.notes if note.what == "stop"}

    def block(self, worker: Worker, seconds: float) -> None:
        """Let the next job of a worker block its event loop."""
        order = self.trial.folder / f"order-{worker.process.pid}"
        order.write_text(f"{seconds}")
        order.rename(order.with_name(f"block-{worker.process.pid}"))  # a job sees all of it or nothing

    def judged(self) -> list[Instance]:
        """Return the instances that must complete."""
        return [instance for instance in self.engine.state.instances.values() if instance.id not in self.apart]

    def done(self) -> int:
        """Return how many of them have completed."""
        return sum(instance.status == "COMPLETED" for instance in self.judged())

    def keep_journals(self) -> None:
        """Give the worker of each job type a journal, which the next one finds, like a restarted container."""
        for job_type, settings in self.settings.items():
            settings |= {"journal_dir": f"{self.trial.folder / f'journal-{job_type}'}", "worker_id": job_type}

    async def progress(self, count: int) -> None:
        """Wait until `count` more instances are done, or all."""
        wanted = min(self.done() + count, len(self.judged()))
        await self.until(lambda: self.done() >= wanted)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds. Raises TimeoutError."""
        await until(condition, 2 * (self.trial.size.lease + self.trial.size.sweep) + self.patience, 0.02)

    def kill(self, worker: Worker) -> None:
        """Kill a worker."""
        worker.process.kill()
        self.note_killed(worker)

    def note_killed(self, worker: Worker) -> None:
        """Record that a worker was killed."""
        del self.running[worker]
        self.mark_victims(worker)

    def mark_victims(self, *workers: Worker) -> None:
        """Record workers that are or soon will be frozen or cut off: from now on their jobs may run elsewhere too."""
        self.ledger.read()
        self.victims |= {worker.process.pid: len(self.ledger.notes) for worker in workers}
        self.recovers_since = time.time()

    async def stop(self, worker: Worker) -> None:
        """Stop a worker with SIGTERM, and record how long it takes."""
        del self.running[worker]
        began = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        self.crashes += await worker.ended() != 0
        self.drains.append(time.monotonic() - began)

    async def run(self, job_type: str) -> Worker:
        """Start a worker; `inject` stops it with SIGTERM at the end, if it still runs."""
        return await self._stack.enter_async_context(self._worker(job_type))

    @asynccontextmanager
    async def _worker(self, job_type: str) -> AsyncIterator[Worker]:
        self._workers += 1
        settings = {
            "worker_id": f"{job_type}-{self._workers}",
            "job_types": job_type,
            "lease": f"{self.trial.size.lease:g}s",
            "drain_timeout": f"{DRAIN_S:g}s",
            "parallelism": f"{SLOTS}",
            **self.settings[job_type],
        }
        code = handlers(self.settings, self.handler)
        folder = self.trial.folder
        async with AsyncExitStack() as stack:
            async with self.trial.starting:
                process = worker_process(folder, self.engine.url, self.environment, code=code, **settings)
                worker = await (await stack.enter_async_context(process)).started()
            self.running[worker] = job_type
            yield worker
            if worker in self.running and worker.process.returncode is None:
                await self.stop(worker)
            elif worker in self.running:
                self.crashes += 1

    async def inject(self, fault: Callable[[], Awaitable[object]], *, seconds: float = 0.02, each: int = 1) -> Jobs:
        """Run half of the trial's instances; when some are done, start the others and inject the fault. Return figures.

        A job takes `seconds`; there are `each` workers per job type.
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
            with suppress(TimeoutError):  # what is never done counts as lost
                await self.until(lambda: not any(instance.live for instance in self.judged()))
        self.ledger.read()
        return self._figures()

    def _figures(self) -> Jobs:
        judged = {instance.id: instance for instance in self.judged()}
        rows = [
            Row(job.execution.id, job.number, job.retries_remaining, job.execution.status == "COMPLETED")
            for job in self.engine.state.jobs.values()
            if job.instance.id in judged
        ]
        steps = [step for instance in judged.values() for step in instance.definition.steps if step.type != "END"]
        last = max(instance.completed_at or 0.0 for instance in judged.values())
        return Jobs(
            **judge(
                rows,
                [note for note in self.ledger.notes if note.instance in judged],
                planned=len(steps),
                retries=RETRIES,
                victims=self.victims,
                taken=self.taken,
            ),
            recovery_s=max(0.0, last - self.recovers_since),
            drain_s=max(self.drains, default=None),
            overdrawn=sum(seconds > DRAIN_S + DRAIN_SLACK_S for seconds in self.drains),
            crashes=self.crashes,
        )


async def nothing() -> None:
    """No fault."""


async def over_each(trial: Trial, play: Callable[[Transport, Trial], Awaitable[Jobs]]) -> Jobs:
    """Run half of the jobs over REST and half over gRPC, at the same time, each with an engine of its own.

    A fault of the engine's calls then hits the calls of both.
    """

    async def half(transport: Transport) -> Jobs:
        folder = trial.folder / transport
        folder.mkdir()
        return await play(transport, replace(trial, folder=folder, size=replace(trial.size, jobs=trial.size.jobs // 2)))

    return together(await asyncio.gather(*map(half, TRANSPORTS)))


@asynccontextmanager
async def site(trial: Trial, *transports: Transport) -> AsyncIterator[Site]:
    """Set up a site that polls for jobs over each of the transports; without any, over REST and gRPC."""
    async with trial.fleet.engine(lease=trial.size.lease, sweep=trial.size.sweep) as engine:
        where = {"engine_url": engine.url, "engine_grpc_target": engine.grpc_target}
        settings: dict[str, dict[str, str]] = {name: {"transport": name, **where} for name in transports or TRANSPORTS}
        async with site_on(trial, engine, settings) as here:
            yield here


@asynccontextmanager
async def site_on(trial: Trial, engine: DevEngine, settings: dict[str, dict[str, str]]) -> AsyncIterator[Site]:
    """Set up a site on a running engine; each job type gets definitions of its own, of `STEPS` jobs and of one."""
    for job_type in settings:
        for name, steps in ((job_type, STEPS), (f"{job_type}-once", 1)):
            upload = {**definition(*[job_type] * steps, retries=RETRIES), "id": name}
            engine.state.definitions.upload(msgspec.convert(upload, Definition))
    with closing(Ledger(trial.folder)) as ledger:
        yield Site(trial, engine, ledger, settings)
