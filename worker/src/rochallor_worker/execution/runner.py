"""Claims jobs for free slots and executes them, until an orderly stop.

async with RestClient(url) as engine:
    await Runner(engine, registry, worker_id="me").run()                             # polls the engine
    await Runner(engine, registry, worker_id="me", kafka=Kafka("kafka:9092")).run()  # the engine dispatches over Kafka
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from typing import Any, NamedTuple

from rochallor_worker.engine.client import ClaimedJob, EngineClient
from rochallor_worker.events import Duplicate, Event, Observer
from rochallor_worker.execution.executor import Executor
from rochallor_worker.execution.gates import Gate, one_pod
from rochallor_worker.execution.in_flight import InFlight, Place, Run
from rochallor_worker.execution.journal import Journal
from rochallor_worker.execution.lanes import Lane, lanes
from rochallor_worker.execution.lease import FIXED_LENGTH
from rochallor_worker.execution.slots import AllSlots, Slots
from rochallor_worker.extras import needs
from rochallor_worker.handlers.lifespan import Life, Worker, living
from rochallor_worker.handlers.processes import Processes
from rochallor_worker.logger import get_logger
from rochallor_worker.outcome import Completed
from rochallor_worker.registry import Handler, Registry, checked_job_types
from rochallor_worker.source.base import Delivery, PartitionState, Problem, Source
from rochallor_worker.source.kafka.connection import Kafka
from rochallor_worker.source.polling import PollingSource
from rochallor_worker.traces import Tracing

CANCEL_SECONDS = 1.0
"""How long jobs that are cut off may take to end, in seconds."""
NAMED = 3
"""Most job types that a notice names."""
REASON_CHARS = 200
"""Most characters of an error in a notice: it is one line of an answer that the operator reads a kilobyte of."""
CLOSE_SECONDS = 3.0
"""How long lifespans may take to close when their jobs have used up the drain timeout, in seconds."""

log = get_logger(__name__)


class Drain(NamedTuple):
    """How far an orderly stop is."""

    left: float
    """Seconds until the remaining jobs are cut off."""
    jobs: int
    """How many were running when it began."""


class Runner:
    """Runs the registry's handlers on the engine's jobs until `stop`. Times in seconds.

    At most `parallelism` jobs run at once, at most `threads` of them plain functions; handlers in `processes` come on
    top. `job_types` defaults to all of the registry. Raises `StartError` for one without a handler. `handler_timeout`
    is the timeout of handlers that have none of their own. `lease` is the length of the leases to ask for; they are
    renewed while their jobs run, and where the engine cannot do that they limit the run. `retry_pause` holds back a
    retryable failure, since the engine would redeliver it at once: twice as long each time the job fails, within its
    lease. `pods` says how many pods share the limits of their resource. With `kafka` the jobs come from there, without
    polls and leases; outcomes still go to `engine`.
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
        threads: int = 64,
        poll_interval: float = 0.5,
        handler_timeout: float | None = None,
        lease: float = 30.0,
        drain_timeout: float = 25.0,
        retry_pause: float | None = None,
        journal: Journal | None = None,
        processes: Processes | None = None,
        pods: Callable[[], int] = one_pod,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self.job_types = checked_job_types(registry, job_types)
        self.observers: list[Observer] = []
        self.journal = Journal() if journal is None else journal
        self._registry = registry
        self._handler_timeout = handler_timeout
        self._drain_timeout = drain_timeout
        self._clock = clock
        self._drained_at = float("-inf")
        self._jobs_at_stop = 0
        self._worker = Worker(worker_id, self.job_types, engine)
        self._opening = bool(registry.lifespans)
        self._stopping, self._cut_off = asyncio.Event(), asyncio.Event()
        self._threads = ThreadPoolExecutor(max_workers=min(parallelism, threads), thread_name_prefix="handler")
        self._processes = Processes() if processes is None else processes
        random = random or Random()  # noqa: S311 — jitter, not a secret
        self.gates = {job_type: Gate(job_type, registry[job_type].limits, clock, pods) for job_type in self.job_types}
        self._executor = Executor(
            engine,
            worker_id,
            self.journal,
            gates=self.gates,
            threads=self._threads,
            processes=self._processes,
            handler_timeout=handler_timeout,
            retry_pause=retry_pause,
            stopping=self._stopping,
            cut_off=self._cut_off,
            observer=self._emit,
            clock=clock,
            random=random,
        )

        def source_of(job_types: Sequence[str], parallelism: int) -> Source:
            gates = {job_type: self.gates[job_type] for job_type in job_types}
            if kafka is None:
                return PollingSource(
                    engine,
                    worker_id,
                    gates,
                    poll_interval=poll_interval,
                    lease=lease,
                    observer=self._emit,
                    clock=clock,
                    random=random,
                )
            with needs("kafka", "Kafka"):
                from rochallor_worker.source.kafka.source import KafkaSource  # noqa: PLC0415 — the extra may be missing

            return KafkaSource(
                kafka,
                worker_id,
                gates,
                parallelism=parallelism,
                drain_timeout=drain_timeout,
                journal=self.journal,
                observer=self._emit,
                clock=clock,
                random=random,
            )

        self.lanes = lanes(
            [registry[job_type] for job_type in self.job_types],
            parallelism=parallelism,
            threads=threads,
            children=self._processes.limit,
            clock=clock,
            source_of=source_of,
        )
        self.slots = AllSlots([lane.slots for lane in self.lanes])
        self._in_flight = InFlight(self.slots, clock)

    @property
    def runs(self) -> list[Run]:
        """The jobs in flight, the oldest first."""
        return self._in_flight.runs

    @property
    def draining(self) -> bool:
        """Whether `stop` was called: no more jobs are claimed."""
        return self._stopping.is_set()

    @property
    def drain(self) -> Drain | None:
        """How far the stop is, once it has begun."""
        if self._drained_at == float("-inf"):
            return None
        return Drain(max(0.0, self._drained_at - self._clock()), self._jobs_at_stop)

    @property
    def problem(self) -> Problem | None:
        """Why no jobs are processed at the moment, though they should be."""
        if self._opening:
            return Problem("Starting", "the lifespan is not open yet")
        return next((lane.source.problem for lane in self.lanes if lane.source.problem), self._executor.problem)

    @property
    def partitions(self) -> Mapping[tuple[str, int], PartitionState]:
        """The partitions of Kafka topics that are assigned to this worker, by topic and number."""
        return {name: state for lane in self.lanes for name, state in lane.source.partitions.items()}

    @property
    def notice(self) -> str:
        """What limits a ready worker, as `Reason: message`, or nothing. The operator reads the reason."""
        if opened := [gate for gate in self.gates.values() if gate.circuit.open]:
            names = ", ".join(gate.job_type for gate in opened[:NAMED])
            more = f" and {len(opened) - NAMED} more" if len(opened) > NAMED else ""
            reason = " ".join(opened[0].circuit.reason.split())[:REASON_CHARS]
            return f"BreakerOpen: runs of {names}{more} fail one after another: {reason}"
        longest = max((handler.timeout or self._handler_timeout or 0.0 for handler in self._registry), default=0.0)
        if self._executor.renewals.supported is not False or longest <= FIXED_LENGTH:
            return ""
        return (
            f"LeaseNotRenewable: handlers may take {longest:.4g} s, and this engine cannot renew its leases of "
            f"{FIXED_LENGTH:.4g} s: longer runs are interrupted or run twice"
        )

    @property
    def unhealthy(self) -> str:
        """Why a restart would help, or nothing. A problem with the engine is no reason: a restart cannot fix it."""
        if not self._in_flight.conserved:
            return "slots have leaked: more are busy than jobs run"
        return next((lane.source.stuck for lane in self.lanes if lane.source.stuck), "")

    def trace_with(self, tracing: Tracing) -> None:
        """Trace all attempts that begin from now on."""
        self._executor.tracing = tracing

    def abort(self) -> None:
        """Prepare for an immediate exit by choice: jobs in flight must not count as having killed the worker."""
        self.journal.close()

    def stop(self) -> None:
        """Claim no more; `run` returns when the jobs in flight have ended, or at the drain timeout."""
        self._stopping.set()
        for lane in self.lanes:
            lane.source.close()
            lane.slots.close()
        self._executor.parking.close()
        for gate in self.gates.values():
            gate.end_doubts()

    async def run(self, on_start: Callable[[], None] = lambda: None) -> list[str]:
        """Claim and run jobs until `stop`, then drain. Returns the ids of jobs cut off at the drain timeout.

        Of those, sync handlers continue in their threads until they return, and async handlers that ignore their
        cancellation continue on the loop.

        The registry's lifespans are opened before the first claim, then `on_start` is called; they are closed after the
        last outcome, in what the jobs have left of the drain timeout, and at least `CLOSE_SECONDS`. Raises `StartError`
        if one cannot be opened.
        """
        async with living(self._registry.lifespans, self._worker, self._seconds_to_close) as life:
            return await self._run(life, on_start)

    async def _run(self, life: Life, on_start: Callable[[], None]) -> list[str]:
        stopping: asyncio.Task[Any] = asyncio.create_task(self._stopping.wait(), name="stop")
        tasks = [stopping]
        try:
            await asyncio.wait({life.state, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not life.state.done():
                return []
            self._executor.state = life.state.result()
            self._registry.check_state(self._executor.state)
            self._opening = False
            on_start()
            claiming = asyncio.create_task(self._claim(), name="claim")
            tasks += [claiming, asyncio.create_task(self._executor.renewals.run(), name="renew")]
            tasks += [asyncio.create_task(self._executor.parking.run(), name="parking")]
            await asyncio.wait({*tasks, life.ended}, return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            cut_off = await self._drain(claiming)
            for ended in (task for task in (*tasks, life.ended) if task.done() and not task.cancelled()):
                ended.result()  # raises what ended it
            return cut_off
        finally:
            self.stop()
            self._cut_off.set()  # also where this task was cancelled: `invoke` takes no other cancellation for ours
            for task in (*tasks, *self._in_flight.tasks):
                task.cancel()  # ended by now, unless this task itself was cancelled
            await self._processes.aclose()
            for lane in self.lanes:
                await lane.source.aclose()
            self.journal.close()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _claim(self) -> None:
        """Claim jobs in each lane, until the stop."""
        await asyncio.gather(*map(self._claim_in, self.lanes))

    async def _claim_in(self, lane: Lane) -> None:
        slots, source = lane.slots, lane.source
        # without a lease another worker may have such a job by now, and two completes at once can both count
        for job, outcome in self.journal.unconfirmed_completes if source.leased and lane is self.lanes[0] else ():
            if await slots.reserve(1):
                self._in_flight.start(slots, job, partial(self._report_unconfirmed, job, outcome))
        turn = asyncio.Lock()
        await asyncio.gather(*(self._take_in(lane, turn) for _ in range(source.takers)))

    async def _take_in(self, lane: Lane, turn: asyncio.Lock) -> None:
        """Reserve slots, then ask for exactly that many jobs: none ever waits here while its lease runs."""
        slots, source = lane.slots, lane.source
        while not self.draining:
            async with turn:
                await slots.room()  # first: `ready` may change its mind while there is no slot
                await source.ready()
                reserved = await slots.reserve(slots.total)
            if reserved == 0:
                return
            for delivery in await source.take(reserved, slots.give_back):
                self._start(delivery, lane)

    def _start(self, delivery: Delivery, lane: Lane) -> None:
        job, lease, slots = delivery.job, delivery.lease, lane.slots
        handler = self._registry.get(job.job_type) if job.job_type in lane.job_types else None
        earlier = self._in_flight.of(job.key)
        if handler is None:
            log.error("the engine gave a job of a type that was not asked for", job_id=job.id, job_type=job.job_type)
            slots.give_back(1)
        elif earlier is None or earlier.lease is None or lease is None:
            self._execute(delivery, handler, slots, after=earlier)
        elif earlier.lease.lost or job.key in self._executor.failing:
            # after a lost lease nothing more is reported for that run; after our own Fail this is the next attempt
            self._execute(delivery, handler, slots, after=earlier)
        elif not earlier.lease.handler_ended and self.journal.recall(job) is not None:
            earlier.lease.lose()  # it ran past its lease too often: fail it now, while it has a lease
            self._execute(delivery, handler, slots)
        else:
            log.warning(
                "a job was redelivered while it still runs here; its run goes on", job_id=job.id, job_type=job.job_type
            )
            self._emit(Duplicate(job.job_type))
            earlier.lease.adopt(lease)
            slots.give_back(1)

    def _execute(self, delivery: Delivery, handler: Handler, slots: Slots, after: Run | None = None) -> None:
        permit = self.gates[handler.job_type].enter()
        work = partial(self._executor.execute, delivery, handler, permit)
        self._in_flight.start(slots, delivery.job, work, delivery.lease, after=after)

    async def _report_unconfirmed(self, job: ClaimedJob, outcome: Completed, _: Place) -> None:
        await self._executor.report_unconfirmed(job, outcome)

    async def _drain(self, claiming: asyncio.Task[None]) -> list[str]:
        """Wait for the poll and the jobs in flight, outcomes included; then cancel the rest without failing any job."""
        self._drained_at = ends_at = self._clock() + self._drain_timeout
        self._jobs_at_stop = self.slots.busy
        pending: set[asyncio.Task[None]] = {claiming, *self._in_flight.tasks}
        log.info("draining", running=len(self._in_flight.tasks), drain_timeout=self._drain_timeout)
        while pending and (left := ends_at - self._clock()) > 0:
            await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            pending = {task for task in (claiming, *self._in_flight.tasks) if not task.done()}
        cut_off = self._in_flight.job_ids
        if cut_off:
            log.warning("the drain timeout has passed; these jobs will be redelivered", jobs=cut_off)
        self._cut_off.set()
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=CANCEL_SECONDS)
        return cut_off

    def _seconds_to_close(self) -> float:
        return max(CLOSE_SECONDS, self._drained_at - self._clock())

    def _emit(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)
