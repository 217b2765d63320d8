"""The whole path of a job: claim → execute → report → settle, and the orderly stop.

async with RestClient(url) as engine:
    await Runner(engine, registry, worker_id="me").run()                             # polls the engine
    await Runner(engine, registry, worker_id="me", kafka=Kafka("kafka:9092")).run()  # the engine dispatches over Kafka
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

import structlog

from rochallor_worker.engine.base import EngineClient
from rochallor_worker.errors import StartError
from rochallor_worker.events import Duplicate, Event, Observer
from rochallor_worker.journal import Journal
from rochallor_worker.perform import Performer
from rochallor_worker.registry import Handler, Registry
from rochallor_worker.running import Running
from rochallor_worker.slots import Slots
from rochallor_worker.source.base import Delivery, Source, Trouble
from rochallor_worker.source.brokers import Kafka
from rochallor_worker.source.polling import PollingSource

CANCEL_SECONDS = 1.0
"""How long jobs that were cut off may take to end."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Runner:
    """Runs the registry's handlers on the engine's jobs until `stop`. Times in seconds.

    `job_types` defaults to all of the registry. Raises `StartError` for one without a handler. `handler_timeout` bounds
    handlers that have none of their own; the lease bounds them all. `retry_pause` holds a retryable failure back, twice
    as long each time the job fails again, as far as its lease goes: the engine would give it out again at once.
    With `kafka` the jobs come from there and there is neither poll nor lease; outcomes still go to `engine`.
    """

    def __init__(
        self,
        engine: EngineClient,
        registry: Registry,
        *,
        worker_id: str,
        kafka: Kafka | None = None,
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
        self.journal = Journal() if journal is None else journal
        self._registry = registry
        self._drain_timeout = drain_timeout
        self._clock = clock
        self._running = Running(self.slots)
        self._stopping = asyncio.Event()
        self._threads = ThreadPoolExecutor(max_workers=parallelism, thread_name_prefix="handler")
        random = random or Random()  # noqa: S311 — jitter, not a secret
        self._performer = Performer(
            engine,
            worker_id,
            self.journal,
            threads=self._threads,
            handler_timeout=handler_timeout,
            retry_pause=retry_pause,
            stopping=self._stopping,
            observer=self._tell,
            clock=clock,
            random=random,
        )
        self.source: Source
        if kafka is None:
            self.source = PollingSource(
                engine,
                worker_id,
                self.job_types,
                poll_interval=poll_interval,
                lease=lease,
                observer=self._tell,
                clock=clock,
                random=random,
            )
        else:
            from rochallor_worker.source.kafka import KafkaSource  # noqa: PLC0415 — others need not load its client

            self.source = KafkaSource(
                kafka,
                worker_id,
                self.job_types,
                parallelism=parallelism,
                drain_timeout=drain_timeout,
                observer=self._tell,
                clock=clock,
                random=random,
            )

    @property
    def draining(self) -> bool:
        """Whether `stop` was called: no more jobs are claimed."""
        return self._stopping.is_set()

    @property
    def trouble(self) -> Trouble | None:
        """Why no jobs are worked on at the moment, though they should be."""
        return self.source.trouble or self._performer.trouble

    @property
    def sick(self) -> str:
        """Why a restart would help, or nothing. Trouble with the engine is no reason: a restart mends none of it."""
        return self.source.stuck if self._running.conserved else "slots have leaked: more are taken than jobs run"

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

        Of those, sync handlers live on in their threads until they return, and async handlers that do not end when they
        are cancelled live on in the loop.
        """
        claiming = asyncio.create_task(self._claim(), name="claim")
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        try:
            await asyncio.wait({claiming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            return await self._drain(claiming)
        finally:
            self.stop()  # where this task was cancelled too: `execute` takes no other cancellation for ours
            for task in (stopping, claiming, *self._running.tasks):
                task.cancel()  # done by now, unless this task itself was cancelled
            await self.source.aclose()
            self.journal.close()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _claim(self) -> None:
        """Reserve slots, then ask for exactly that many jobs: none ever waits here while its lease runs."""
        # without a lease another worker may have such a job by now, and two completes at once can both count
        for job_id, job_type, outcome in self.journal.unsent_completes if self.source.leased else ():
            if await self.slots.reserve(1):
                self._running.start(job_id, self._performer.redeliver(job_id, job_type, outcome))
        while not self.draining:
            await self.source.ready()
            reserved = await self.slots.reserve(self.slots.total)
            if reserved == 0:
                return
            deliveries = await self.source.take(reserved)
            for delivery in deliveries:
                self._start(delivery)
            self.slots.give_back(reserved - len(deliveries))

    def _start(self, delivery: Delivery) -> None:
        job = delivery.job
        handler = self._registry.get(job.job_type) if job.job_type in self.job_types else None
        earlier = self._running.of(job.id)
        if handler is None:
            log.error("the engine sent a job of a type not asked for", job_id=job.id, job_type=job.job_type)
            self.slots.give_back(1)
        elif earlier is not None and self.source.leased and job.id not in self._performer.failing:
            log.warning("a job came again while it runs here", job_id=job.id, job_type=job.job_type)
            self._tell(Duplicate(job.job_type))
            self.slots.give_back(1)
        else:
            self._running.start(job.id, self._process(delivery, handler, earlier))

    async def _process(self, delivery: Delivery, handler: Handler, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:  # our own Fail gave the job back before its answer reached us
            await asyncio.wait({earlier})
        await self._performer.perform(delivery, handler)

    async def _drain(self, claiming: asyncio.Task[None]) -> list[str]:
        """Take in the poll in flight, let what runs end, deliver its outcomes; then cancel without failing any job."""
        ends_at = self._clock() + self._drain_timeout
        pending: set[asyncio.Task[None]] = {claiming, *self._running.tasks}
        log.info("draining", running=len(self._running.tasks), drain_timeout=self._drain_timeout)
        while pending and (left := ends_at - self._clock()) > 0:
            await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            pending = {task for task in (claiming, *self._running.tasks) if not task.done()}
        cut_off = self._running.job_ids
        if cut_off:
            log.warning("the drain timeout ended; these jobs will come again", jobs=cut_off)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=CANCEL_SECONDS)
        if claiming.done() and not claiming.cancelled() and (crash := claiming.exception()) is not None:
            raise crash
        return cut_off

    def _tell(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)


def _checked_job_types(registry: Registry, job_types: Sequence[str]) -> list[str]:
    if not len(registry):
        raise StartError("the registry has no handler; register at least one with @registry.handler(job_type)")
    missing = [job_type for job_type in job_types if job_type not in registry.job_types]
    if missing:
        raise StartError(
            f"no handler for job type {', '.join(map(repr, missing))} (ROCHALLOR_JOB_TYPES); registered: "
            f"{', '.join(registry.job_types)}"
        )
    return list(job_types) or registry.job_types
