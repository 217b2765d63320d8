"""What a handler receives."""

import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from rochallor_worker.errors import NonRetryableError
from rochallor_worker.logger import Logger, get_logger
from rochallor_worker.traces import trace_id

if TYPE_CHECKING:
    from rochallor_worker.engine.client import Instance


class Variables(dict[str, Any]):
    """Variables that cannot be changed by mistake: only what a handler returns reaches the instance.

    A dict, so that they can be encoded, compared and copied (into an ordinary one) like any other.
    """

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("job.variables is read-only: return what is to change, or change a copy, dict(job.variables)")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:  # else a copy or a pickle is made item by item
        return Variables, (dict(self),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job, leased to this worker for the run of its handler.

    The engine redelivers a job whose worker has died, so a handler may see the same `key` again: make its effects
    idempotent by `key`.
    """

    id: str
    """The engine's id of this attempt. Today's engines give each attempt its own: use `key`."""
    instance_id: str
    step_execution_id: str
    job_type: str
    variables: Mapping[str, Any]
    """The instance's variables, read-only. Numbers have passed through the engine as float64."""
    retries_remaining: int
    """Retries that may still follow this run."""
    attempt: int = 1
    """Runs of this job that this process has seen, this one included."""
    _limit: Callable[[], float] = field(default=lambda: float("inf"), repr=False)
    _fetch_instance: Callable[[str], Awaitable["Instance"]] = field(repr=False)
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "variables", Variables(self.variables))

    @property
    def key(self) -> str:
        """The same in all runs of this step: retries, redeliveries, other workers (engine.md, "Generations").

        Only a manual retry (RetryStep) is a new step with a new key.
        """
        return self.step_execution_id or self.id

    @property
    def deadline(self) -> float:
        """When the handler must have ended, on the clock of `time.monotonic()`, in seconds; infinity means never.

        It moves when the job's lease is renewed.
        """
        return self._limit()

    @property
    def cancelled(self) -> bool:
        """Whether the run's time is up, or the job is no longer ours (its instance was cancelled, say).

        A long sync handler reads it and raises, since what it returns would complete the job; an async one is
        cancelled.
        """
        return self._cancelled.is_set()

    def require(self, name: str) -> Any:
        """Return a variable. Raises `NonRetryableError` if it is missing or null: another run would find it so too."""
        if (value := self.variables.get(name)) is None:
            raise NonRetryableError(f"the variable {name!r} is {'null' if name in self.variables else 'missing'}")
        return value

    @property
    def log(self) -> Logger:
        """A logger that carries the job's id, type, instance and attempt."""
        return get_logger("rochallor_worker.job", **log_keys(self))

    async def instance(self) -> "Instance":
        """Fetch the job's instance from the engine. Raises `EngineError`."""
        return await self._fetch_instance(self.instance_id)


def log_keys(job: Job) -> dict[str, object]:
    """Return what every log line about a job carries."""
    keys = {"job_id": job.id, "job_type": job.job_type, "instance_id": job.instance_id, "attempt": job.attempt}
    return {**keys, "trace_id": trace} if (trace := trace_id()) else keys


def cancel(job: Job) -> None:
    """Tell a running sync handler that its time is up."""
    job._cancelled.set()  # noqa: SLF001 — handlers read the flag, only the runtime sets it
