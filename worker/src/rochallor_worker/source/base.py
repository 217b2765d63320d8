"""The seam between the runner and where jobs come from."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from rochallor_worker.engine.base import ClaimedJob

Verdict = Literal["accepted", "refused", "abandoned"]
"""The end of an outcome: the engine took it, will never take it, or was not reached in the time there was."""


class Trouble(NamedTuple):
    """Why jobs are not worked on at the moment. The reason is API: /readyz begins with it, the operator reads it."""

    reason: Literal["EngineUnreachable", "TransportMismatch", "KafkaUnreachable", "TopicNotFound", "NotAssigned"]
    sentence: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed job and how to settle it."""

    job: ClaimedJob
    claimed_at: float
    """When its claim was asked for, on the clock of `time.monotonic()`, in seconds."""
    lease_end: float | None
    """Until when it is ours, on the same clock. None: for as long as it takes."""
    deadline: float | None
    """When its handler must be done, so that the outcome still travels inside the lease."""
    settle: Callable[[Verdict], None]
    """Called once, with the last word on the job's outcome."""
    ours: Callable[[], Awaitable[bool]] | None = None
    """Where there is no lease: whether nobody else has been given the job, which may take a moment to know."""


class PartitionState(NamedTuple):
    """One partition that this worker has."""

    lag: int
    """Records that are not worked off."""
    paused: bool


class Source(Protocol):
    """Hands out jobs. One task calls `ready` and `take` in turn."""

    @property
    def leased(self) -> bool:
        """Whether a job is ours alone until its lease ends; if not, it is given out anew as soon as we are gone."""
        ...

    @property
    def trouble(self) -> Trouble | None:
        """Why no jobs can come: readiness depends on it."""
        ...

    @property
    def stuck(self) -> str:
        """Why only a restart would help, or nothing: liveness depends on it."""
        ...

    @property
    def partitions(self) -> Mapping[tuple[str, int], PartitionState]:
        """The partitions this worker has, by topic and number; none where there is no such thing."""
        ...

    async def ready(self) -> None:
        """Wait until it is worth asking. Returns at once when closed. Raises what has ended the source for good: an
        error in this program, or one of its client that cannot be mended."""
        ...

    async def take(self, count: int) -> list[Delivery]:
        """Ask for up to `count` jobs. Never raises for trouble with the engine, and must not be cancelled:
        jobs whose claim was answered to nobody are lost for the length of their lease."""
        ...

    def close(self) -> None:
        """Ask for no more jobs."""
        ...

    async def aclose(self) -> None:
        """Give back what this source holds, after the last job was settled or given up."""
        ...
