"""The whole path of a job: claim → execute → report → settle, and the orderly stop.

async with RestClient(url) as engine:
    await Runner(engine, registry, worker_id="me").run()
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import structlog

from rochallor_worker.engine.base import MAX_JOBS_PER_POLL, EngineClient
from rochallor_worker.errors import StartError
from rochallor_worker.events import (
    ClaimExpired,
    Duplicate,
    Event,
    Executed,
    Observer,
    OutcomeRetried,
    Recalled,
    Reported,
    RunOutcome,
    Started,
    TimedOut,
)
from rochallor_worker.execute import execute
from rochallor_worker.inputs import variables_of
from rochallor_worker.job import Job
from rochallor_worker.journal import Journal
from rochallor_worker.outcome import Completed, Failed, Outcome
from rochallor_worker.registry import Handler, Registry
from rochallor_worker.report import Reporter
from rochallor_worker.slots import Slots
from rochallor_worker.source.base import Delivery, Source, Verdict
from rochallor_worker.source.polling import PollingSource

ATTEMPTS_REMEMBERED = 10_000
"""Failed jobs whose runs are counted for `Job.attempt`; the oldest are forgotten."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Runner:
    """Runs the registry's handlers on the engine's jobs until `stop`. Times in seconds.

    `job_types` defaults to all of the registry. Raises `StartError` for one without a handler. `handler_timeout` bounds
    handlers that have none of their own; the lease bounds them all. `retry_pause` holds a retryable failure back, twice
    as long each time the job fails again, as far as its lease goes: the engine would give it out again at once.
    """

    def __init__(
        self,
        engine: EngineClient,
        registry: Registry,
        *,
        worker_id: str,
        job_types: Sequence[str] = (),
        parallelism: int = 64,
        poll_interval: float = 0.5,
        handler_timeout: float | None = None,
        lease: float = 30.0,
        drain_timeout: float = 25.0,
        retry_pause: float | None = None,
        journal: Journal | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self.job_types = _checked_job_types(registry, job_types)
        self.slots = Slots(parallelism, clock)
        self.observers: list[Observer] = []
        self._engine = engine
        self._registry = registry
        self._handler_timeout = handler_timeout
        self._drain_timeout = drain_timeout
        self._retry_pause = retry_pause
        self.journal = Journal() if journal is None else journal
        self._clock = clock
        self._random = random or Random()  # noqa: S311 — jitter, not a secret
        self.source: Source = PollingSource(
            engine,
            worker_id,
            self.job_types,
            poll_interval=poll_interval,
            lease=lease,
            observer=self._tell,
            clock=clock,
            random=self._random,
        )
        self._reporter = Reporter(engine, worker_id, clock, self._random)
        self._threads = ThreadPoolExecutor(max_workers=parallelism, thread_name_prefix="handler")
        self._running: set[asyncio.Task[None]] = set()
        self._latest: dict[str, asyncio.Task[None]] = {}
        self._failing: set[str] = set()
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self._stopping = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether `stop` was called: no more jobs are claimed."""
        return self._stopping.is_set()

    @property
    def conserved(self) -> bool:
        """Whether no slot has leaked: each busy one runs a job."""
        return self.slots.busy == len(self._running) and self.slots.free >= 0

    def abort(self) -> None:
        """The process is about to end by its own will: jobs that run are not to count as having killed it."""
        self.journal.close()

    def stop(self) -> None:
        """Claim no more; `run` returns when what runs is done, or at the drain timeout."""
        self._stopping.set()
        self.source.close()
        self.slots.close()

    async def run(self) -> list[str]:
        """Claim and run jobs until `stop`, then drain. Returns the ids of jobs cut off at the drain timeout.

        The threads of sync handlers among those live on until their handlers return.
        """
        claiming = asyncio.create_task(self._claim(), name="claim")
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        try:
            await asyncio.wait({claiming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            return await self._drain(claiming)
        finally:
            for task in (stopping, claiming, *self._running):  # done by now, unless this task itself was cancelled
                task.cancel()
            self.journal.close()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _claim(self) -> None:
        """Reserve slots, then ask for exactly that many jobs: none ever waits here while its lease runs."""
        for job_id, outcome in self.journal.unsent_completes:
            if await self.slots.reserve(1):
                self._track(job_id, self._redeliver(job_id, outcome))
        while not self.draining:
            await self.source.ready()
            reserved = await self.slots.reserve(MAX_JOBS_PER_POLL)
            if reserved == 0:
                return
            deliveries = await self.source.take(reserved)
            for delivery in deliveries:
                self._start(delivery)
            self.slots.give_back(reserved - len(deliveries))

    def _start(self, delivery: Delivery) -> None:
        job = delivery.job
        handler = self._registry.get(job.job_type)
        earlier = self._latest.get(job.id)
        if handler is None:
            log.error("the engine sent a job of a type not asked for", job_id=job.id, job_type=job.job_type)
            self.slots.give_back(1)
        elif earlier is not None and job.id not in self._failing:
            log.warning("a job came again while it runs here", job_id=job.id, job_type=job.job_type)
            self._tell(Duplicate(job.job_type))
            self.slots.give_back(1)
        else:
            self._track(job.id, self._process(delivery, handler, earlier))

    def _track(self, job_id: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` on a reserved slot, which is freed when it ends."""

        async def on_a_slot() -> None:
            try:
                await work
            finally:
                self._running.discard(task)
                if self._latest.get(job_id) is task:
                    del self._latest[job_id]
                self.slots.release()

        self.slots.occupy()
        task = asyncio.create_task(on_a_slot(), name=f"job {job_id}")
        self._running.add(task)
        self._latest[job_id] = task

    async def _process(self, delivery: Delivery, handler: Handler, earlier: asyncio.Task[None] | None) -> None:
        """One job, from the claim to the engine's word on its outcome."""
        if earlier is not None:  # our own Fail gave the job back before its answer reached us
            await asyncio.wait({earlier})
        variables = await variables_of(self._engine, delivery.job, delivery.deadline, self._clock, self._random)
        if variables is None or (delivery.deadline is not None and self._clock() >= delivery.deadline):
            log.warning("a claim could not be started in time", job_id=delivery.job.id, job_type=delivery.job.job_type)
            self._tell(ClaimExpired(delivery.job.job_type))
            return
        job = self._job(delivery, variables)
        outcome = self.journal.recall(delivery.job)
        if outcome is None:
            self.journal.started(delivery.job)
            outcome = await self._execute(delivery, handler, job)
        else:
            job.log.warning("not run: its outcome is known from before", outcome=_kind(outcome)[0])
            self._tell(Recalled(job.job_type))
        decided_at = self._clock()
        self.journal.decided(delivery.job, outcome)
        await self._pause(outcome, delivery, job)
        verdict = await self._report(delivery, outcome)
        if verdict != "abandoned":
            self.journal.settled(job.id)
        kind, _ = _kind(outcome)
        self._tell(Reported(job.job_type, kind, verdict, self._clock() - decided_at))
        self._remember(job.id, again=kind == "failed_retryable")
        delivery.settle(verdict)

    async def _report(self, delivery: Delivery, outcome: Outcome) -> Verdict:
        job = delivery.job
        if isinstance(outcome, Failed):
            self._failing.add(job.id)  # from here on the engine may give the job out anew
        try:
            return await self._reporter.deliver(
                job.id, outcome, delivery.lease_end, lambda: self._tell(OutcomeRetried(job.job_type))
            )
        finally:
            self._failing.discard(job.id)

    async def _execute(self, delivery: Delivery, handler: Handler, job: Job) -> Outcome:
        started_at = self._clock()
        self._tell(Started(job.job_type, started_at - delivery.claimed_at))
        outcome = await execute(
            handler,
            job,
            self._threads,
            lambda: self._tell(TimedOut(job.job_type)),
            self._timeout(handler, delivery, started_at),
        )
        kind, message = _kind(outcome)
        self._tell(Executed(job.job_type, kind, self._clock() - started_at, message))
        return outcome

    async def _pause(self, outcome: Outcome, delivery: Delivery, job: Job) -> None:
        """Hold a retryable failure back, within the lease; a stop ends the wait."""
        if self._retry_pause is None or _kind(outcome)[0] != "failed_retryable":
            return
        pause = self._retry_pause * 2 ** min(job.attempt - 1, 16)
        if delivery.deadline is not None:
            pause = min(pause, delivery.deadline - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._stopping.wait()

    async def _redeliver(self, job_id: str, outcome: Outcome) -> None:
        """Send what was decided before a crash: a Complete, which may have arrived already."""
        verdict = await self._reporter.deliver(job_id, outcome, None, lambda: None)
        log.info("an outcome from before the restart was sent", job_id=job_id, verdict=verdict)
        if verdict != "abandoned":
            self.journal.settled(job_id)

    async def _drain(self, claiming: asyncio.Task[None]) -> list[str]:
        """Take in the poll in flight, let what runs end, deliver its outcomes; then cancel without failing any job."""
        ends_at = self._clock() + self._drain_timeout
        pending: set[asyncio.Task[None]] = {claiming, *self._running}
        log.info("draining", running=len(self._running), drain_timeout=self._drain_timeout)
        while pending and (left := ends_at - self._clock()) > 0:
            await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            pending = {task for task in (claiming, *self._running) if not task.done()}
        cut_off = sorted(self._latest)
        if cut_off:
            log.warning("the drain timeout ended; these jobs come again after their lease", jobs=cut_off)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if not claiming.cancelled() and (crash := claiming.exception()) is not None:
            raise crash
        return cut_off

    def _job(self, delivery: Delivery, variables: Mapping[str, Any]) -> Job:
        claimed = delivery.job
        return Job(
            id=claimed.id,
            instance_id=claimed.instance_id,
            step_execution_id=claimed.step_execution_id,
            job_type=claimed.job_type,
            variables=variables,
            retries_remaining=claimed.retries_remaining,
            attempt=self._attempts.get(claimed.id, 0) + 1,
            deadline=delivery.deadline if delivery.deadline is not None else float("inf"),
            _fetch_instance=self._engine.get_instance,
        )

    def _timeout(self, handler: Handler, delivery: Delivery, now: float) -> float | None:
        limits = [handler.timeout or self._handler_timeout, delivery.deadline and delivery.deadline - now]
        return min((limit for limit in limits if limit is not None), default=None)

    def _remember(self, job_id: str, *, again: bool) -> None:
        if again:
            self._attempts[job_id] = self._attempts.get(job_id, 0) + 1
            if len(self._attempts) > ATTEMPTS_REMEMBERED:
                self._attempts.popitem(last=False)
        else:
            self._attempts.pop(job_id, None)

    def _tell(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)


def _checked_job_types(registry: Registry, job_types: Sequence[str]) -> list[str]:
    if not len(registry):
        raise StartError("the registry has no handler; register at least one with @registry.handler(job_type)")
    missing = [job_type for job_type in job_types if job_type not in registry.job_types]
    if missing:
        raise StartError(
            f"no handler for job type {', '.join(map(repr, missing))}; registered: {', '.join(registry.job_types)}"
        )
    return list(job_types) or registry.job_types


def _kind(outcome: Outcome) -> tuple[RunOutcome, str]:
    match outcome:
        case Completed():
            return "completed", ""
        case Failed(message, retryable):
            return ("failed_retryable" if retryable else "failed_final"), message
