"""The path of one job, from its claim until it is settled."""

import asyncio
import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from rochallor_worker.backoff import Backoff
from rochallor_worker.engine.client import ClaimedJob, EngineClient
from rochallor_worker.errors import Rejected, SchemaViolation
from rochallor_worker.events import (
    ClaimExpired,
    Executed,
    Observer,
    OutcomeKind,
    OutcomeRetried,
    Parked,
    Recalled,
    Reported,
    Started,
    TimedOut,
    Verdict,
)
from rochallor_worker.execution.gates import ROUNDING, Gate, Permit
from rochallor_worker.execution.in_flight import Place
from rochallor_worker.execution.journal import Journal
from rochallor_worker.execution.lease import FIXED_LENGTH, Grant, Lease
from rochallor_worker.execution.limit import Limit
from rochallor_worker.execution.parking import Parking
from rochallor_worker.execution.renewal import Renewals
from rochallor_worker.execution.reporter import Reporter
from rochallor_worker.execution.variables import load_variables
from rochallor_worker.execution.wait import waited
from rochallor_worker.handlers.invocation import invoke, log_failed
from rochallor_worker.handlers.lifespan import NO_STATE
from rochallor_worker.handlers.processes import Processes
from rochallor_worker.job import Job
from rochallor_worker.logger import get_logger
from rochallor_worker.outcome import Completed, Failed, Outcome, Postponed
from rochallor_worker.registry import Handler
from rochallor_worker.source.base import Delivery, Problem
from rochallor_worker.traces import UNTRACED, Attempt

MAX_RETRY_PAUSE = 30.0
"""Longest pause before a retryable failure is reported, in seconds, unless its handler has a `Backoff` of its own."""
MAX_COUNTED_JOBS = 10_000
"""Failed jobs whose runs are counted; the oldest are forgotten."""

log = get_logger(__name__)


class Executor:
    """Executes jobs, each from its claim until it is settled. Times in seconds.

    `stopping` ends the pause before a retry; once `cut_off` is set, a run is cancelled because the drain ends.
    """

    def __init__(
        self,
        engine: EngineClient,
        worker_id: str,
        journal: Journal,
        *,
        gates: Mapping[str, Gate],
        threads: ThreadPoolExecutor,
        processes: Processes,
        handler_timeout: float | None,
        retry_pause: float | None,
        stopping: asyncio.Event,
        cut_off: asyncio.Event,
        observer: Observer,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self.failing: set[str] = set()
        """Keys of jobs whose Fail is being sent: from then on the engine may redeliver them."""
        self.state = NO_STATE
        """What the lifespans yielded; set before the first job."""
        self.tracing = UNTRACED
        self.renewals = Renewals(
            engine, worker_id, observer=observer, clock=clock, on_overrun=lambda lease: journal.overran(lease.job)
        )
        self.parking = Parking(clock)
        self._gates = gates
        self._engine = engine
        self._reporter = Reporter(engine, worker_id, clock, random)
        self._journal = journal
        self._threads = threads
        self._processes = processes
        self._handler_timeout = handler_timeout
        self._retry = Backoff(min(retry_pause, MAX_RETRY_PAUSE), 2, MAX_RETRY_PAUSE) if retry_pause else None
        self._stopping = stopping
        self._cut_off = cut_off
        self._emit = observer
        self._clock = clock
        self._random = random
        self._attempts = Attempts()
        self._one_suspect = asyncio.Lock()

    @property
    def problem(self) -> Problem | None:
        """Why outcomes do not get through, once none has for a while."""
        return self._reporter.problem

    async def execute(self, delivery: Delivery, handler: Handler, permit: Permit, place: Place) -> None:
        """Execute one job: run its handler, unless its outcome is known, and report the outcome to the engine.

        A job that is postponed leaves its place, and is run again when it has a permit and a place again.
        """
        trace = self.tracing.attempt(delivery.job, self._clock() - delivery.claimed_at)
        with trace, self.renewals.renewing(delivery.lease):
            while True:
                with permit:
                    async with self._alone_if_suspect(delivery.job):
                        outcome = self._recall(delivery.job) or await self._run(delivery, handler, permit, place, trace)
                        if outcome is None:
                            return
                        if not isinstance(outcome, Postponed):
                            self._journal.decided(delivery.job, outcome)
                            place.ended = True
                            await self._pause_before_retry(delivery, handler, outcome)
                            verdict = await self._report(delivery, outcome, trace)
                            delivery.settle(verdict)
                            return
                trace.note(outcome="postponed")
                following = await self._park(delivery, outcome, place)
                if following is None:
                    return
                permit, delivery = following, replace(delivery, claimed_at=self._clock())

    async def report_unconfirmed(self, job: ClaimedJob, outcome: Completed) -> None:
        """Report a Complete that was decided before a crash and may have arrived already. Its lease is not known."""
        began = self._clock()
        lease = Lease(job, float("-inf"), Grant(FIXED_LENGTH, FIXED_LENGTH))
        verdict: Verdict
        with self.tracing.attempt(job, 0.0) as trace, trace.reporting():
            try:
                verdict = await self._reporter.report(
                    job, outcome, lease, lambda: self._emit(OutcomeRetried(job.job_type))
                )
            except Rejected as error:
                log.error("the engine refused a result from before the restart", **_names(job), error=str(error))
                verdict = "refused"
            trace.note(outcome="completed", verdict=verdict)
            log.info("an outcome from before the restart was reported", **_names(job), verdict=verdict)
        self._record_report(job, outcome, verdict, self._clock() - began, leased=True)

    # the steps of `execute`, in order

    def _alone_if_suspect(self, job: ClaimedJob) -> contextlib.AbstractAsyncContextManager[None]:
        return self._one_suspect if self._journal.suspects(job.key) else contextlib.nullcontext()

    def _recall(self, job: ClaimedJob) -> Outcome | None:
        """Return the outcome that the journal has for this job, if any."""
        outcome = self._journal.recall(job)
        if outcome is not None:
            log.warning("not run: its outcome is already known", **_names(job), outcome=_kind(outcome, job))
            self._emit(Recalled(job.job_type))
        return outcome

    async def _run(
        self, delivery: Delivery, handler: Handler, permit: Permit, place: Place, trace: Attempt
    ) -> Outcome | Postponed | None:
        """Run the handler; return what came of it, and None if the job is left to its redelivery."""
        variables = await self._load_variables(delivery)
        if variables is None or not await self._verify_ownership(delivery):
            trace.note(outcome="not_run")
            return None
        if not permit.begin():
            return Postponed(0.0, "the breaker of the job type is open")
        job, limit = self._start(delivery, handler, variables, first=not permit.parked)
        with trace.handling(job):
            outcome = await invoke(
                handler, job, self._threads, limit, self._cut_off.is_set, self.state, self._processes
            )
            trace.note(outcome=_ended(outcome, delivery.job))
        self._record_run(delivery, outcome, limit)
        if isinstance(outcome, Failed) and outcome.retryable and limit.cut_short:
            trace.note(verdict="abandoned")
            self._abandon(delivery, outcome)
            return None
        outcome = await self._judge(delivery, outcome, permit, place, since=limit.started_at)
        if isinstance(outcome, Failed):
            log_failed(job, outcome)
        return outcome

    def _abandon(self, delivery: Delivery, outcome: Failed) -> None:
        """Leave a job that began too late in its lease to its redelivery: its failure would spend a retry."""
        job = delivery.job
        log.warning("a run began late in its lease and was cut short; the job is redelivered", **_names(job))
        self._journal.ended(job)
        self._emit(Reported(job.job_type, _kind(outcome, job), "abandoned", 0.0))
        delivery.settle("abandoned")

    async def _judge(
        self, delivery: Delivery, outcome: Outcome | Postponed | None, permit: Permit, place: Place, since: float
    ) -> Outcome | Postponed | None:
        """Return the outcome of a run that began at `since`; a failure while the breaker is open is postponed instead.

        A failure that would end its instance first waits for a moment, without its slot, for others of its type: when
        they fail too, it is not the job that is at fault.
        """
        gate = self._gates[delivery.job.job_type]
        if isinstance(outcome, Completed):
            permit.succeeded()
        elif isinstance(outcome, Failed) and outcome.retryable:
            opened = permit.failed(outcome.message)
            final = delivery.job.retries_remaining == 0
            if final and not opened and gate.circuit.breaker is not None and not self._stopping.is_set():
                self._journal.ended(delivery.job)
                place.vacate()
                gate.parked += 1
                try:
                    await gate.doubt(since, lambda: _ours_until(delivery))
                finally:
                    gate.parked -= 1
                opened = gate.circuit.open
            if opened:
                return Postponed(0.0, f"the breaker of the job type is open: {outcome.message}")
        return outcome

    async def _park(self, delivery: Delivery, postponed: Postponed, place: Place) -> Permit | None:
        """Park a job until it may run again; return the permit for that, and None if it is given up."""
        job, lease = delivery.job, delivery.lease
        self._journal.ended(job)
        self._emit(Parked(job.job_type))
        if postponed.after:
            log.info("postponed", **_names(job), seconds=round(postponed.after, 3), reason=postponed.message)
        else:
            log.info("postponed until its job type has room", **_names(job), reason=postponed.message)
        permit = await self.parking.park(delivery, self._gates[job.job_type], place, postponed.after)
        if permit is None:
            log.info("a postponed job is given up here: it is redelivered, and no retry is spent", **_names(job))
            delivery.settle("abandoned")
        elif lease is not None:
            lease.handler_ended = False
        return permit

    async def _load_variables(self, delivery: Delivery) -> Mapping[str, Any] | None:
        """Return the job's variables; None if it can no longer be started inside its lease."""
        job, lease = delivery.job, delivery.lease
        deadline = None if lease is None else lease.deadline
        variables = await load_variables(self._engine, job, deadline, self._clock, self._random)
        if variables is None or (lease is not None and self._clock() >= lease.deadline):
            log.warning("a claim could not be started in time", **_names(job))
            self._emit(ClaimExpired(job.job_type))
            return None
        return variables

    async def _verify_ownership(self, delivery: Delivery) -> bool:
        if delivery.still_ours is None or await delivery.still_ours():
            return True
        log.warning("not run: the job belongs to another worker by now", **_names(delivery.job))
        delivery.settle("abandoned")
        return False

    def _start(
        self, delivery: Delivery, handler: Handler, variables: Mapping[str, Any], *, first: bool
    ) -> tuple[Job, Limit]:
        """Record that the handler starts; return what it receives, and the limit of its run.

        `first` says that the job was not postponed before.
        """
        claimed = delivery.job
        self._journal.started(claimed)
        limit = Limit(
            handler.timeout or self._handler_timeout,
            delivery.lease,
            clock=self._clock,
            on_reached=lambda: self._emit(TimedOut(claimed.job_type)),
        )
        queued = limit.started_at - delivery.claimed_at
        self._emit(Started(claimed.job_type, queued, waited(claimed, queued, _utc_now) if first else None))
        job = Job(
            id=claimed.id,
            instance_id=claimed.instance_id,
            step_execution_id=claimed.step_execution_id,
            job_type=claimed.job_type,
            variables=variables,
            retries_remaining=claimed.retries_remaining,
            attempt=self._attempts.next(claimed.key),
            _limit=lambda: limit.at,
            _fetch_instance=self._engine.get_instance,
        )
        return job, limit

    def _record_run(self, delivery: Delivery, outcome: Outcome | Postponed | None, limit: Limit) -> None:
        """Record that the handler has ended; without an outcome, the engine has taken the job away meanwhile."""
        job = delivery.job
        if isinstance(outcome, Completed | Failed):
            message = outcome.message if isinstance(outcome, Failed) else ""
            seconds = self._clock() - limit.started_at
            self._emit(Executed(job.job_type, _kind(outcome, job), seconds, message, job.instance_id))
        if delivery.lease is not None:
            delivery.lease.handler_ended = True
        if outcome is None:
            self._journal.ended(job)
            self._emit(Reported(job.job_type, "completed", "lost", 0.0))

    async def _pause_before_retry(self, delivery: Delivery, handler: Handler, outcome: Outcome) -> None:
        """Hold a retryable failure back, since the engine redelivers at once; the lease or a stop ends the pause."""
        job, lease = delivery.job, delivery.lease
        backoff = handler.retry or self._retry
        if backoff is None or _kind(outcome, job) != "failed_retryable":
            return
        ends_at = self._clock() + backoff.pause(self._attempts.next(job.key) - 1)
        while not self._stopping.is_set():
            # checked again when the lease would end: it may have been renewed
            left = (ends_at if lease is None else min(ends_at, lease.deadline)) - self._clock()
            if left <= ROUNDING:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._stopping.wait()

    async def _report(self, delivery: Delivery, outcome: Outcome, trace: Attempt) -> Verdict:
        """Report the outcome, or a failure in place of a result that the engine refuses; return the verdict."""
        job, began = delivery.job, self._clock()
        with trace.reporting():
            outcome, verdict = await self._send_something(delivery, outcome)
            trace.note(outcome=_kind(outcome, job), verdict=verdict)
        self._record_report(job, outcome, verdict, self._clock() - began, leased=delivery.lease is not None)
        return verdict

    async def _send_something(self, delivery: Delivery, outcome: Outcome) -> tuple[Outcome, Verdict]:
        """Send the outcome, or what has to take its place; return which of them, and its verdict."""
        job = delivery.job
        try:
            verdict = await self._send(delivery, outcome)
        except SchemaViolation as error:  # the engine has failed the instance itself
            log.error("the engine refused the result and has failed the job", **_names(job), error=str(error))
            outcome, verdict = Failed(str(error), retryable=False), "refused"
        except Rejected as error:  # known not to be carried out, so the job may be failed
            log.error("the engine refused the result; failing the job", **_names(job), error=str(error))
            outcome = Failed(f"the engine refuses the result: {error}", retryable=False)
            self._journal.decided(job, outcome)
            verdict = await self._send(delivery, outcome)
        return outcome, verdict

    async def _send(self, delivery: Delivery, outcome: Outcome) -> Verdict:
        job = delivery.job
        if isinstance(outcome, Failed):
            self.failing.add(job.key)
        try:
            return await self._reporter.report(
                job, outcome, delivery.lease, lambda: self._emit(OutcomeRetried(job.job_type)), delivery.still_ours
            )
        finally:
            self.failing.discard(job.key)

    def _record_report(
        self, job: ClaimedJob, outcome: Outcome, verdict: Verdict, seconds: float, *, leased: bool
    ) -> None:
        """Keep what the engine has not accepted, forget what it has; without a lease the source does the latter."""
        kind = _kind(outcome, job)
        self._emit(Reported(job.job_type, kind, verdict, seconds))
        if leased and verdict in {"accepted", "refused"}:
            self._journal.settled(job.key)
        elif verdict in {"late", "lost"}:
            self._journal.keep(job, outcome)
        if kind == "failed_retryable" and verdict != "late":
            self._attempts.failed(job.key)
        elif verdict in {"accepted", "refused"}:
            self._attempts.ended(job.key)


class Attempts:
    """Counts the runs of failed jobs, by key: each attempt may have an id of its own (engine.md)."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, int] = OrderedDict()

    def next(self, key: str) -> int:
        """Return the number of the run that begins, from 1."""
        return self._failed.get(key, 0) + 1

    def failed(self, key: str) -> None:
        """A run has failed and another one will follow."""
        self._failed[key] = self.next(key)
        if len(self._failed) > MAX_COUNTED_JOBS:
            self._failed.popitem(last=False)

    def ended(self, key: str) -> None:
        """No other run will follow."""
        self._failed.pop(key, None)


def _ours_until(delivery: Delivery) -> float:
    """Return until when a failure may wait to be reported."""
    lease = delivery.lease
    if (delivery.leaving is not None and delivery.leaving.is_set()) or (lease is not None and lease.lost):
        return -math.inf
    return math.inf if lease is None else lease.deadline


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _names(job: ClaimedJob) -> dict[str, Any]:
    return {"job_id": job.id, "job_type": job.job_type, "instance_id": job.instance_id}


def _ended(outcome: Outcome | Postponed | None, job: ClaimedJob) -> str:
    """Return how a run ended, for its trace."""
    if outcome is None:
        return "lost"
    return "postponed" if isinstance(outcome, Postponed) else _kind(outcome, job)


def _kind(outcome: Outcome, job: ClaimedJob) -> OutcomeKind:
    """Return what an outcome means for the job (engine.md: it is retried if that can help and retries are left)."""
    if isinstance(outcome, Completed):
        return "completed"
    return "failed_retryable" if outcome.retryable and job.retries_remaining > 0 else "failed_final"
