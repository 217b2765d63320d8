"""Outcome → engine, with the retry rules.

    RUNNING → COMPLETING | FAILING → the verdict

One request is in flight per job, since two concurrent completes can both move the instance on. A Complete may be sent
again (a second one is a no-op), so it is, until the engine takes it; a Fail may not (each one spends a retry), so it is
sent again only if it provably did not reach the engine, or if no lease would bring the job back (Kafka). It is not sent
at all once the job may be another worker's, whose work it would undo. An unknown Complete never becomes a Fail; one
that is refused for what it holds does, since it is known not to have been carried out (see `perform`).
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import structlog

from rochallor_worker.backoff import Backoff
from rochallor_worker.engine.base import EngineClient
from rochallor_worker.errors import AnswerLost, EngineError, InternalError, Rejected, Unreachable
from rochallor_worker.outcome import Completed, Failed, Outcome
from rochallor_worker.source.base import Trouble, Verdict

RETRY_BASE = 0.1
RETRY_CAP = 2.0
"""Most seconds between two tries: low, so that finished work is delivered soon after the engine is back."""
SETTLE_WAIT = 0.5
"""Seconds to wait after a lost answer: the engine may still be carrying that request out."""
FAIL_TRAVEL = 0.5
"""Seconds before the end of the lease when no Fail is sent any more: a late one takes another worker's lease away."""

TROUBLE_AFTER = 5.0
"""Seconds without an outcome that got through, after which that is called trouble: an engine restarts sooner."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Reporter:
    """Delivers outcomes to the engine. `clock` gives seconds and is the one that leases are measured on."""

    def __init__(self, engine: EngineClient, worker_id: str, clock: Callable[[], float], random: Random) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._clock = clock
        self._random = random
        self._got_through_at = float("-inf")
        self._retrying: dict[str, tuple[float, EngineError]] = {}
        """By job id, for outcomes that wait to be sent again: since when, and the first error."""

    @property
    def trouble(self) -> Trouble | None:
        """Why outcomes do not get through, once none has for a while."""
        if not self._retrying:
            return None
        since, error = next(iter(self._retrying.values()))
        if self._clock() - max(since, self._got_through_at) < TROUBLE_AFTER:
            return None
        return Trouble("EngineUnreachable", str(error))

    async def deliver(
        self,
        job_id: str,
        outcome: Outcome,
        lease_end: float | None,
        on_retry: Callable[[], None],
        ours: Callable[[], Awaitable[bool]] | None = None,
    ) -> Verdict:
        """Deliver an outcome and return the last word on it; trouble with the engine is no error.

        Raises `Rejected` when a Complete is refused for what it holds: then it provably was not carried out.
        `lease_end` is on the clock given to the constructor (None: there is no lease, and `ours` may say whose the job
        is). A Complete is retried until the calling task is cancelled, and so is a Fail without lease, as long as the
        job is ours: nobody would give it out again.
        """
        backoff = Backoff(RETRY_BASE, RETRY_CAP, self._random)
        try:
            while isinstance(outcome, Completed) or await self._may_fail(lease_end, ours):
                try:
                    await self._send(job_id, outcome)
                except EngineError as error:
                    if isinstance(error, Rejected) and isinstance(outcome, Completed):
                        raise
                    verdict = _final(job_id, outcome, lease_end is not None, error)
                    if verdict == "refused":
                        self._got_through_at = self._clock()  # the engine is there, whatever it says
                    if verdict is not None:
                        return verdict
                    self._retrying.setdefault(job_id, (self._clock(), error))
                    wait = backoff.next() + (SETTLE_WAIT if isinstance(error, AnswerLost) else 0.0)
                else:
                    self._got_through_at = self._clock()
                    return "accepted"
                on_retry()
                await asyncio.sleep(wait)
        finally:
            self._retrying.pop(job_id, None)
        log.warning("a fail is not sent: the job is no longer this worker's and comes again", job_id=job_id)
        return "abandoned"

    async def _may_fail(self, lease_end: float | None, ours: Callable[[], Awaitable[bool]] | None) -> bool:
        if lease_end is not None:
            return self._clock() < lease_end - FAIL_TRAVEL
        return ours is None or await ours()

    async def _send(self, job_id: str, outcome: Outcome) -> None:
        match outcome:
            case Completed(variables):
                await self._engine.complete_job(job_id, self._worker_id, variables)
            case Failed(message, retryable):
                await self._engine.fail_job(job_id, self._worker_id, message, retryable=retryable)


def _final(job_id: str, outcome: Outcome, leased: bool, error: EngineError) -> Verdict | None:
    """Return the verdict on an outcome that did not get through, or None if it is to be sent again."""
    again = isinstance(error, Unreachable | AnswerLost | InternalError)
    if not again:
        log.error("the engine refused an outcome; this run's result is lost", job_id=job_id, error=str(error))
        return "refused"
    if leased and isinstance(outcome, Failed) and not isinstance(error, Unreachable):
        log.warning("a fail is not sent twice: if it was lost, the job comes again", job_id=job_id, error=str(error))
        return "abandoned"
    log.debug("an outcome did not get through; sending it again", job_id=job_id, error=str(error))
    return None
