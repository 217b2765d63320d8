"""What the status page says about each job type: counts, the present rate, the last error."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rochallor_worker.events import Event, Executed, Reported

RATE_SECONDS = 60
"""The rate is the mean over this time."""


@dataclass(slots=True)
class TypeActivity:
    """One job type since the start."""

    completed: int = 0
    failed: int = 0
    last_error: str = ""
    last_error_at: datetime | None = None
    ends: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=RATE_SECONDS))
    """(second, jobs that ended in it), the newest last."""


class Activity:
    """Remembers per job type what happened; `observe` is an `Observer`. `clock` gives seconds."""

    def __init__(self, job_types: list[str], clock: Callable[[], float]) -> None:
        self.types = {job_type: TypeActivity() for job_type in job_types}
        self._clock = clock
        self._started_at = clock()

    def observe(self, event: Event) -> None:
        """Note one event."""
        match event:
            case Executed(job_type, outcome, _, message) if outcome != "completed":
                self.types[job_type].last_error = message
                self.types[job_type].last_error_at = datetime.now(UTC)
            case Reported(job_type, outcome, "accepted", _):
                activity = self.types[job_type]
                if outcome == "completed":
                    activity.completed += 1
                else:
                    activity.failed += 1
                self._count(activity.ends)
            case _:
                pass

    def rate(self, job_type: str) -> float:
        """Return the jobs of a type that ended per second, over the last minute."""
        now = self._clock()
        ended = sum(count for second, count in self.types[job_type].ends if second > now - RATE_SECONDS)
        return ended / max(1.0, min(RATE_SECONDS, now - self._started_at))

    def _count(self, ends: deque[tuple[int, int]]) -> None:
        second = int(self._clock())
        if ends and ends[-1][0] == second:
            ends[-1] = (second, ends[-1][1] + 1)
        else:
            ends.append((second, 1))
