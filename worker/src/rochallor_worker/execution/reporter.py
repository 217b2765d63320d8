"""Reports outcomes to the engine: outcome → verdict, with the retry rules.

One request is in flight per job, since two concurrent completes can both move the instance on. A Complete may be sent
again (a second one is a no-op), so it is, until the engine accepts it; a Fail may not (on an unfenced engine each one
spends a retry), so it is sent again only if it provably did not reach the engine, or if no lease would bring the job
back (Kafka). It is not sent at all once the job may be another worker's, whose work it would undo. A Complete whose
fate is unknown never becomes a Fail; one that is refused for its content does, since it provably was not carried out
(see `Executor`).

An answer counts only inside the lease: a fenced engine gives the same answer to a late request, and drops it
(engine.md, "Fenced engines"). Then the instance's history decides; if that proves nothing, the verdict is `late`.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from rochallor_worker.backoff import Jitter
from rochallor_worker.engine.client import ClaimedJob, EngineClient
from rochallor_worker.errors import AnswerLost, EngineError, InternalError, Rejected, Unreachable
from rochallor_worker.events import Verdict
from rochallor_worker.execution.lease import Lease
from rochallor_worker.logger import get_logger
from rochallor_worker.outcome import Completed, Failed, Outcome
from rochallor_worker.source.base import Problem, engine_problem

RETRY_BASE = 0.1
RETRY_CAP = 2.0
"""Most seconds between two tries: low, so that outcomes arrive soon after the engine is back."""
LOST_ANSWER_WAIT = 0.5
"""Seconds to wait after a lost answer: the engine may still be carrying out that request."""
FAIL_MARGIN = 0.5
"""Seconds before the end of the lease from which no Fail is sent: a late one would end another worker's lease."""

PROBLEM_AFTER = 5.0
"""Seconds without an outcome that got through, after which that is a problem: a restart of the engine is shorter."""
REFUSED_AFTER = 300.0
"""Seconds (or two leases, if longer) of nothing but 5xx for one Complete, while others get through, after which it is
refused; three times as long while nothing shows that the engine can store anything at all."""
WARN_SECONDS = 60.0
"""Seconds between two warnings that outcomes do not get through, and between two about one that the engine fails on."""

log = get_logger(__name__)


@dataclass(slots=True)
class _Tries:
    """The failed tries of one outcome."""

    since: float
    first: EngineError
    errors_since: float = math.inf
    """Since when all answers have been 5xx."""
    warned_at: float = -math.inf


class Reporter:
    """Reports outcomes to the engine. `clock` gives seconds and is the one that leases are measured on."""

    def __init__(self, engine: EngineClient, worker_id: str, clock: Callable[[], float], random: Random) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._clock = clock
        self._random = random
        self._got_through_at = float("-inf")
        self._warned_at = float("-inf")
        self._retrying: dict[str, _Tries] = {}
        """By key, for outcomes that are to be sent again."""

    @property
    def problem(self) -> Problem | None:
        """Why outcomes do not get through, once none has for a while."""
        if not self._retrying:
            return None
        oldest = next(iter(self._retrying.values()))
        if self._clock() - max(oldest.since, self._got_through_at) < PROBLEM_AFTER:
            return None
        return engine_problem(oldest.first)

    async def report(
        self,
        job: ClaimedJob,
        outcome: Outcome,
        lease: Lease | None,
        on_retry: Callable[[], None],
        still_ours: Callable[[], Awaitable[bool]] | None = None,
    ) -> Verdict:
        """Report an outcome and return the verdict; a problem with the engine is no error.

        Raises `Rejected` when a Complete is refused for its content: then it provably was not carried out. A Complete
        is retried until the calling task is cancelled. So is a Fail without a lease, as long as the job is
        `still_ours`: nobody would redeliver it.
        """
        backoff = Jitter(RETRY_BASE, RETRY_CAP, self._random)
        try:
            while isinstance(outcome, Completed) or await self._may_fail(lease, still_ours):
                if lease is not None and lease.lost:
                    return "lost"
                claim = job if lease is None else lease.job
                try:
                    await self._send(claim.id, outcome)
                except EngineError as error:
                    if (verdict := await self._on_error(claim, outcome, lease, error)) is not None:
                        return verdict
                    on_retry()
                    await asyncio.sleep(backoff.next() + (LOST_ANSWER_WAIT if isinstance(error, AnswerLost) else 0.0))
                else:
                    self._got_through_at = self._clock()
                    if (verdict := await self._on_answer(claim, outcome, lease)) is not None:
                        return verdict
        finally:
            self._retrying.pop(job.key, None)
        log.warning("a fail is not sent: the job is no longer this worker's and is redelivered", job_id=job.id)
        return "abandoned"

    async def _may_fail(self, lease: Lease | None, still_ours: Callable[[], Awaitable[bool]] | None) -> bool:
        if lease is not None:
            return self._clock() < lease.end - FAIL_MARGIN
        return still_ours is None or await still_ours()

    async def _send(self, job_id: str, outcome: Outcome) -> None:
        match outcome:
            case Completed(variables):
                await self._engine.complete_job(job_id, self._worker_id, variables)
            case Failed(message, retryable):
                await self._engine.fail_job(job_id, self._worker_id, message, retryable=retryable)

    async def _on_answer(self, claim: ClaimedJob, outcome: Outcome, lease: Lease | None) -> Verdict | None:
        """Return the verdict that an answer without error proves; None if a newer claim counts by now."""
        if lease is None:
            return "accepted"
        if lease.job is not claim:
            return None
        if lease.holds(self._clock()):
            return "accepted"
        if await self._step_status(claim) == ("COMPLETED" if isinstance(outcome, Completed) else "FAILED"):
            return "accepted"
        log.warning(
            "an outcome was reported after the end of its lease; it is kept for the job's next claim", job_id=claim.id
        )
        return "late"

    async def _on_error(
        self, claim: ClaimedJob, outcome: Outcome, lease: Lease | None, error: EngineError
    ) -> Verdict | None:
        """Return the verdict that an error implies; None to send the outcome again. Raises `Rejected`, see `report`."""
        if isinstance(error, Rejected) and isinstance(outcome, Completed):
            raise error
        verdict = _final(claim.id, outcome, lease is not None, error)
        if verdict == "refused":
            self._got_through_at = self._clock()  # the engine is there, whatever it answers
        if verdict is None and await self._accepted_despite_errors(claim, outcome, lease, error):
            return "accepted"
        return verdict

    async def _step_status(self, job: ClaimedJob) -> str | None:
        """Return the status of the job's step in its instance's history; None if it cannot be read.

        Automatic retries do not show there, so a retryable Fail leaves it RUNNING either way.
        """
        try:
            history = await self._engine.get_instance_history(job.instance_id)
        except EngineError as error:
            log.debug("the instance's history cannot be read", job_id=job.id, error=str(error))
            return None
        return next((entry.status for entry in history if entry.id == job.step_execution_id), None)

    async def _accepted_despite_errors(
        self, job: ClaimedJob, outcome: Outcome, lease: Lease | None, error: EngineError
    ) -> bool:
        """Note a failed try. After a long time of 5xx, return whether the outcome was accepted all the same.

        Raises `Rejected` if it was not: a result that the engine can never store must not hold a slot forever.
        """
        now = self._clock()
        tries = self._retrying.setdefault(job.key, _Tries(now, error))
        if not isinstance(error, InternalError):  # an outage proves nothing about this outcome
            tries.errors_since = math.inf
            if self.problem is not None and now - self._warned_at >= WARN_SECONDS:
                self._warned_at = now
                log.warning("outcomes do not get through; sending them again", error=str(error))
            return False
        tries.errors_since = min(tries.errors_since, now)
        if now - tries.warned_at >= WARN_SECONDS:
            tries.warned_at = now
            log.warning("the engine answers an outcome with errors; sending it again", job_id=job.id, error=str(error))
        patience = max(REFUSED_AFTER, 2 * lease.grant.length if lease is not None else 0)
        if self._got_through_at < tries.errors_since:
            patience *= 3
        if isinstance(outcome, Failed) or now - tries.errors_since < patience:
            return False
        status = await self._step_status(job)
        if status == "RUNNING":
            raise Rejected(f"it was answered with errors for {now - tries.errors_since:.0f} s: {error}")
        return status == "COMPLETED"


def _final(job_id: str, outcome: Outcome, leased: bool, error: EngineError) -> Verdict | None:
    """Return the verdict on an outcome that did not get through, or None if it is to be sent again."""
    transient = isinstance(error, Unreachable | AnswerLost | InternalError)
    if not transient:
        log.error("the engine refused an outcome; this run's result is lost", job_id=job_id, error=str(error))
        return "refused"
    if leased and isinstance(outcome, Failed) and not isinstance(error, Unreachable):
        log.warning("a fail is not sent twice: if it was lost, the job is redelivered", job_id=job_id, error=str(error))
        return "abandoned"
    log.debug("an outcome did not get through; sending it again", job_id=job_id, error=str(error))
    return None
