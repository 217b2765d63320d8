"""What a handler receives."""

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from rochallor_worker.engine.base import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, leased to this worker for the run of its handler.

    The engine redelivers a job whose worker vanished, so a handler may see the same `id` again: make its effects
    idempotent by `id`.
    """

    id: str
    instance_id: str
    step_execution_id: str
    job_type: str
    variables: Mapping[str, Any]
    """The instance's variables. Numbers passed through the engine as float64."""
    retries_remaining: int
    """Retries left after this run fails retryably."""
    attempt: int = 1
    """Runs of this job that this process has seen, this one included."""
    deadline: float
    """When the handler must be done, on the clock of `time.monotonic()`, in seconds."""
    _fetch_instance: Callable[[str], Awaitable["Instance"]] = field(repr=False)
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether the run's time is up. A long sync handler reads it and raises, since what it returns would complete
        the job; an async one is cancelled."""
        return self._cancelled.is_set()

    @property
    def log(self) -> "structlog.stdlib.BoundLogger":
        """A logger that carries the job's id, type and instance."""
        logger: structlog.stdlib.BoundLogger = structlog.get_logger("rochallor_worker.job")
        return logger.bind(job_id=self.id, job_type=self.job_type, instance_id=self.instance_id)

    async def instance(self) -> "Instance":
        """Fetch the job's instance from the engine. Raises `EngineError`."""
        return await self._fetch_instance(self.instance_id)


def cancel(job: Job) -> None:
    """Tell a running sync handler that its time is up."""
    job._cancelled.set()  # noqa: SLF001 — handlers read the flag, only the runtime sets it
