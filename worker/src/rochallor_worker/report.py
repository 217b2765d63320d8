"""Outcome → engine, with the retry rules.

    RUNNING → COMPLETING | FAILING → the verdict

One request is in flight per job, since two concurrent completes can both move the instance on. A Complete may be sent
again (a second one is a no-op), so it is, until the engine takes it; a Fail may not (each one spends a retry), so it is
sent again only if it provably did not reach the engine. An unknown Complete never becomes a Fail.
"""

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import structlog

from rochallor_worker.backoff import Backoff
from rochallor_worker.engine.base import EngineClient
from rochallor_worker.errors import AnswerLost, EngineError, InternalError, Unreachable
from rochallor_worker.outcome import Completed, Failed, Outcome
from rochallor_worker.source.base import Verdict

RETRY_BASE = 0.1
RETRY_CAP = 2.0
"""Most seconds between two tries: low, so that finished work is delivered soon after the engine is back."""
SETTLE_WAIT = 0.5
"""Seconds to wait after a lost answer: the engine may still be carrying that request out."""
FAIL_TRAVEL = 0.5
"""Seconds before the end of the lease when no Fail is sent any more: a late one takes another worker's lease away."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Reporter:
    """Delivers outcomes to the engine. `clock` gives seconds and is the one that leases are measured on."""

    def __init__(self, engine: EngineClient, worker_id: str, clock: Callable[[], float], random: Random) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._clock = clock
        self._random = random

    async def deliver(
        self, job_id: str, outcome: Outcome, lease_end: float | None, on_retry: Callable[[], None]
    ) -> Verdict:
        """Deliver an outcome and return the last word on it; never raises for trouble with the engine.

        `lease_end` is on the clock given to the constructor (None: there is no lease). A Complete is retried until the
        calling task is cancelled.
        """
        match outcome:
            case Completed(variables):
                return await self._complete(job_id, variables, on_retry)
            case Failed():
                return await self._fail(job_id, outcome, lease_end, on_retry)

    async def _complete(self, job_id: str, variables: Mapping[str, Any], on_retry: Callable[[], None]) -> Verdict:
        backoff = Backoff(RETRY_BASE, RETRY_CAP, self._random)
        while True:
            try:
                await self._engine.complete_job(job_id, self._worker_id, variables)
            except (Unreachable, InternalError) as error:
                log.debug("a complete did not get through; sending it again", job_id=job_id, error=str(error))
                wait = backoff.next()
            except AnswerLost as error:
                log.debug("the answer to a complete was lost; sending it again", job_id=job_id, error=str(error))
                wait = SETTLE_WAIT + backoff.next()
            except EngineError as error:
                log.error("the engine refused a complete; this run's result is lost", job_id=job_id, error=str(error))
                return "refused"
            else:
                return "accepted"
            on_retry()
            await asyncio.sleep(wait)

    async def _fail(
        self, job_id: str, outcome: Failed, lease_end: float | None, on_retry: Callable[[], None]
    ) -> Verdict:
        backoff = Backoff(RETRY_BASE, RETRY_CAP, self._random)
        while lease_end is None or self._clock() < lease_end - FAIL_TRAVEL:
            try:
                await self._engine.fail_job(job_id, self._worker_id, outcome.message, retryable=outcome.retryable)
            except Unreachable as error:
                log.debug("a fail did not reach the engine; sending it again", job_id=job_id, error=str(error))
            except (AnswerLost, InternalError) as error:
                log.warning(
                    "a fail is not sent twice: if it was lost, the job comes again", job_id=job_id, error=str(error)
                )
                return "abandoned"
            except EngineError as error:
                log.error("the engine refused a fail", job_id=job_id, error=str(error))
                return "refused"
            else:
                return "accepted"
            on_retry()
            await asyncio.sleep(backoff.next())
        log.warning("a fail is not sent at the end of the lease: the job comes again", job_id=job_id)
        return "abandoned"
