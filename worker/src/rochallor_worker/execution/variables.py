"""The variables of a claimed job, where the claim lacks them (engine.md: gRPC's PollJobs leaves them empty)."""

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from rochallor_worker.backoff import Jitter
from rochallor_worker.engine.client import ClaimedJob, EngineClient
from rochallor_worker.errors import AnswerLost, EngineError, InternalError, Unreachable, Unreadable
from rochallor_worker.logger import get_logger

RETRY_BASE = 0.1
RETRY_CAP = 2.0

log = get_logger(__name__)


async def load_variables(
    engine: EngineClient, job: ClaimedJob, deadline: float | None, clock: Callable[[], float], random: Random
) -> Mapping[str, Any] | None:
    """Return the job's variables, read from its instance if need be; None if they cannot be read by the deadline.

    `deadline` is in seconds on `clock`; None means never.
    """
    if job.variables is not None:
        return job.variables
    backoff = Jitter(RETRY_BASE, RETRY_CAP, random)
    while True:
        try:
            return (await engine.get_instance(job.instance_id)).variables or {}
        except EngineError as error:
            transient = isinstance(error, Unreachable | AnswerLost | InternalError) and not isinstance(
                error, Unreadable
            )
            wait = backoff.next()
            if not transient or (deadline is not None and clock() + wait >= deadline):
                log.error("a job's variables cannot be read; it is left to its lease", job_id=job.id, error=str(error))
                return None
            log.debug("a job's variables could not be read; trying again", job_id=job.id, error=str(error))
            await asyncio.sleep(wait)
