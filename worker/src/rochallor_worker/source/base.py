"""The interface between the runner and where jobs come from."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import AnswerLost, EngineError, InternalError, TurnedAway, Unreachable, Unreadable
from rochallor_worker.events import Verdict
from rochallor_worker.execution.lease import Lease


class Problem(NamedTuple):
    """Why no jobs are processed at the moment. The reason is API: /readyz begins with it, the operator reads it."""

    reason: Literal[
        "Starting",
        "EngineUnreachable",
        "EngineRefuses",
        "TransportMismatch",
        "KafkaUnreachable",
        "TopicNotFound",
        "NotAssigned",
    ]
    message: str


def engine_problem(error: EngineError) -> Problem:
    """Return the problem behind an error of a call to the engine: there is no answer, or the call is refused."""
    silent = isinstance(error, Unreachable | AnswerLost | InternalError)
    refused = isinstance(error, TurnedAway | Unreadable) or not silent
    return Problem("EngineRefuses" if refused else "EngineUnreachable", str(error))


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed job and how to settle it."""

    job: ClaimedJob
    claimed_at: float
    """When its claim was requested, on the clock of `time.monotonic()`, in seconds."""
    lease: Lease | None
    """Until when it is ours. None: there is no time limit."""
    settle: Callable[[Verdict], None]
    """Called once, with the verdict on the job's outcome. Without a lease it also makes the journal forget the job and
    remember its event."""
    still_ours: Callable[[], Awaitable[bool]] | None = None
    """Without a lease: whether the job has not been given to another worker; waits until that is certain."""
    leaving: asyncio.Event | None = None
    """Without a lease: set when the job is about to be given to another worker, unless it ends soon."""


class PartitionState(NamedTuple):
    """The state of one partition that is assigned to this worker."""

    lag: int
    """Records that are not processed."""
    paused: bool


class Source(Protocol):
    """Where jobs come from. `takers` tasks call `ready` and `take` in turn; only one at a time calls `ready`."""

    @property
    def takers(self) -> int:
        """How many tasks may take jobs at a time."""
        ...

    @property
    def leased(self) -> bool:
        """Whether a job is ours alone until its lease ends; if not, it is redelivered once this worker has left."""
        ...

    @property
    def problem(self) -> Problem | None:
        """Why there can be no jobs: readiness depends on it."""
        ...

    @property
    def stuck(self) -> str:
        """Why only a restart can help, or nothing: liveness depends on it."""
        ...

    @property
    def partitions(self) -> Mapping[tuple[str, int], PartitionState]:
        """The partitions assigned to this worker, by topic and number; none where there is no such thing."""
        ...

    async def ready(self) -> None:
        """Wait until `take` may return jobs. Returns at once when closed. Raises what has ended the source: an error in
        this program, or a fatal one of its client."""
        ...

    async def take(self, count: int, give_back: Callable[[int], None]) -> list[Delivery]:
        """Take up to `count` jobs. Never raises for a problem with the engine, and must not be cancelled: jobs whose
        claim is answered to nobody are locked for the length of their lease.

        `give_back` gets how many are not asked for, before it waits, and how many of those asked for did not come.
        """
        ...

    def close(self) -> None:
        """Take no more jobs."""
        ...

    async def aclose(self) -> None:
        """Release what this source holds, after the last job was settled or given up."""
        ...
