"""The seam between the runner and where jobs come from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from rochallor_worker.engine.base import ClaimedJob

Verdict = Literal["accepted", "refused", "abandoned"]
"""The end of an outcome: the engine took it, will never take it, or was not reached in the time there was."""


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


class Source(Protocol):
    """Hands out jobs. One task calls `ready` and `take` in turn."""

    @property
    def healthy(self) -> bool:
        """Whether jobs can come: readiness depends on it."""
        ...

    @property
    def trouble(self) -> str:
        """Why it is not healthy, in one sentence; empty when it is."""
        ...

    async def ready(self) -> None:
        """Wait until it is worth asking. Returns at once when closed."""
        ...

    async def take(self, count: int) -> list[Delivery]:
        """Ask for up to `count` jobs. Never raises for trouble with the engine, and must not be cancelled:
        jobs whose claim was answered to nobody are lost for the length of their lease."""
        ...

    def close(self) -> None:
        """Ask for no more jobs."""
        ...
