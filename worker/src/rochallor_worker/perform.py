"""The path of one job: variables → execute → journal → report → settle."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from random import Random
from typing import Any

import structlog

from rochallor_worker.attempts import Attempts
from rochallor_worker.engine.base import ClaimedJob, EngineClient
from rochallor_worker.errors import Rejected
from rochallor_worker.events import (
    ClaimExpired,
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
from rochallor_worker.registry import Handler
from rochallor_worker.report import Reporter
from rochallor_worker.source.base import Delivery, Trouble, Verdict

MAX_RETRY_PAUSE = 30.0
"""Most seconds a retryable failure is held back where no lease says less."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Performer:
    """Brings one job after another from its claim to the engine's word on its outcome. Times in seconds.

    `stopping` ends the pause before a retry.
    """

    def __init__(
        self,
        engine: EngineClient,
        worker_id: str,
        journal: Journal,
        *,
        threads: Executor,
        handler_timeout: float | None,
        retry_pause: float | None,
        stopping: asyncio.Event,
        observer: Observer,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self.failing: set[str] = set()
        """Jobs whose Fail is on its way: from then on the engine may give them out anew."""
        self._engine = engine
        self._reporter = Reporter(engine, worker_id, clock, random)
        self._journal = journal
        self._threads = threads
        self._handler_timeout = handler_timeout
        self._retry_pause = retry_pause
        self._stopping = stopping
        self._tell = observer
        self._clock = clock
        self._random = random
        self._attempts = Attempts()
        self._one_suspect = asyncio.Lock()

    @property
    def trouble(self) -> Trouble | None:
        """Why outcomes do not get through, once none has for a while."""
        return self._reporter.trouble

    async def perform(self, delivery: Delivery, handler: Handler) -> None:
        """One job, from the claim to the engine's word on its outcome."""
        async with self._one_suspect if self._journal.suspects(delivery.job.id) else contextlib.nullcontext():
            await self._perform(delivery, handler)

    async def _perform(self, delivery: Delivery, handler: Handler) -> None:
        claimed = delivery.job
        outcome = self._journal.recall(claimed)
        if outcome is None:
            outcome = await self._run(delivery, handler)
            if outcome is None:
                self._tell(ClaimExpired(claimed.job_type))
                return
        else:
            known = _kind(outcome, claimed)
            log.warning("not run: its outcome is known from before", **_names(claimed), outcome=known)
            self._tell(Recalled(claimed.job_type))
        self._journal.decided(claimed, outcome)
        await self._pause(outcome, delivery)
        decided_at = self._clock()
        try:
            verdict = await self._report(delivery, outcome)
        except Rejected as error:  # known not to be carried out, so the job may be failed
            log.error("the engine refuses the result; its job is failed", **_names(claimed), error=str(error))
            outcome = Failed(f"the engine refuses the result: {error}", retryable=False)
            self._journal.decided(claimed, outcome)
            verdict = await self._report(delivery, outcome)
        if verdict != "abandoned":
            self._journal.settled(claimed.id)
        kind = _kind(outcome, claimed)
        self._tell(Reported(claimed.job_type, kind, verdict, self._clock() - decided_at))
        if kind == "failed_retryable":
            self._attempts.failed(claimed.id)
        else:
            self._attempts.ended(claimed.id)
        delivery.settle(verdict)

    async def redeliver(self, job_id: str, job_type: str, outcome: Completed) -> None:
        """Send what was decided before a crash: a Complete, which may have arrived already."""
        began = self._clock()
        verdict: Verdict
        try:
            verdict = await self._reporter.deliver(job_id, outcome, None, lambda: self._tell(OutcomeRetried(job_type)))
        except Rejected as error:
            log.error("the engine refuses a result from before the restart", job_id=job_id, error=str(error))
            verdict = "refused"
        log.info("an outcome from before the restart was sent", job_id=job_id, job_type=job_type, verdict=verdict)
        self._journal.settled(job_id)
        self._tell(Reported(job_type, "completed", verdict, self._clock() - began))

    async def _run(self, delivery: Delivery, handler: Handler) -> Outcome | None:
        """Run the handler and return the outcome, or None where the job cannot be started while it is ours."""
        claimed = delivery.job
        variables = await variables_of(self._engine, claimed, delivery.deadline, self._clock, self._random)
        if variables is None:
            return None
        if delivery.deadline is not None and self._clock() >= delivery.deadline:
            log.warning("a claim could not be started in time", **_names(claimed))
            return None
        self._journal.started(claimed)
        return await self._execute(delivery, handler, self._job(delivery, variables))

    async def _execute(self, delivery: Delivery, handler: Handler, job: Job) -> Outcome:
        started_at = self._clock()
        self._tell(Started(job.job_type, started_at - delivery.claimed_at))
        outcome = await execute(
            handler,
            job,
            self._threads,
            lambda: self._tell(TimedOut(job.job_type)),
            self._timeout(handler, delivery, started_at),
            self._stopping.is_set,
        )
        message = outcome.message if isinstance(outcome, Failed) else ""
        self._tell(Executed(job.job_type, _kind(outcome, delivery.job), self._clock() - started_at, message))
        return outcome

    async def _pause(self, outcome: Outcome, delivery: Delivery) -> None:
        """Hold a retryable failure back, within the lease; a stop ends the wait."""
        job = delivery.job
        if self._retry_pause is None or _kind(outcome, job) != "failed_retryable":
            return
        most = MAX_RETRY_PAUSE if delivery.deadline is None else delivery.deadline - self._clock()
        doubled = min(self._attempts.next(job.id) - 1, 16)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(most, self._retry_pause * 2**doubled)):
                await self._stopping.wait()

    async def _report(self, delivery: Delivery, outcome: Outcome) -> Verdict:
        job = delivery.job
        if isinstance(outcome, Failed):
            self.failing.add(job.id)
        try:
            return await self._reporter.deliver(
                job.id,
                outcome,
                delivery.lease_end,
                lambda: self._tell(OutcomeRetried(job.job_type)),
                delivery.ours,
            )
        finally:
            self.failing.discard(job.id)

    def _job(self, delivery: Delivery, variables: Mapping[str, Any]) -> Job:
        claimed = delivery.job
        return Job(
            id=claimed.id,
            instance_id=claimed.instance_id,
            step_execution_id=claimed.step_execution_id,
            job_type=claimed.job_type,
            variables=variables,
            retries_remaining=claimed.retries_remaining,
            attempt=self._attempts.next(claimed.id),
            deadline=delivery.deadline if delivery.deadline is not None else float("inf"),
            _fetch_instance=self._engine.get_instance,
        )

    def _timeout(self, handler: Handler, delivery: Delivery, now: float) -> float | None:
        limits = [handler.timeout or self._handler_timeout, delivery.deadline and delivery.deadline - now]
        return min((limit for limit in limits if limit is not None), default=None)


def _names(job: ClaimedJob) -> dict[str, str]:
    return {"job_id": job.id, "job_type": job.job_type, "instance_id": job.instance_id}


def _kind(outcome: Outcome, job: ClaimedJob) -> RunOutcome:
    """What comes of it (engine.md: a fail is tried again only when it is retryable and retries are left)."""
    if isinstance(outcome, Completed):
        return "completed"
    return "failed_retryable" if outcome.retryable and job.retries_remaining > 0 else "failed_final"
