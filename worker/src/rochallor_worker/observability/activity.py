"""What the jobs of each type have come to lately, for the status page."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from rochallor_worker.events import Event, Executed, Reported, Started

SECONDS = 60
"""How far the page looks back."""
FAILURES = 20
"""How many failures of each kind are kept, over all types."""
MESSAGE_CHARS = 500
"""Most characters of an error that are kept."""


@dataclass(slots=True)
class Second:
    """One second of a job type."""

    at: int
    ended: int = 0
    """Jobs whose outcome the engine has accepted."""
    started: int = 0
    """Jobs whose handler started, where it is known how long they had waited."""
    waited: float = 0.0
    """Seconds that these had waited, in sum."""

    @property
    def wait(self) -> float:
        """Their mean wait."""
        return self.waited / self.started if self.started else 0.0


@dataclass(slots=True)
class TypeActivity:
    """One job type since the start of the process."""

    completed: int = 0
    retried: int = 0
    """Runs that failed and were retried."""
    failed: int = 0
    """Jobs that failed permanently, and their instances with them."""
    seconds: deque[Second] = field(default_factory=lambda: deque(maxlen=SECONDS))
    """Those in which something happened, the newest last."""


class Failure(NamedTuple):
    """A run that failed. `at` is in epoch seconds."""

    at: float
    job_type: str
    instance_id: str
    message: str


class Activity:
    """Counts, rates and failures; `observe` is an `Observer`. `clock` returns seconds."""

    def __init__(self, job_types: list[str], clock: Callable[[], float]) -> None:
        self.types = {job_type: TypeActivity() for job_type in job_types}
        self.retried: deque[Failure] = deque(maxlen=FAILURES)
        """The latest failures that were retried, the newest last."""
        self.failed: deque[Failure] = deque(maxlen=FAILURES)
        """The latest that ended their instances."""
        self._clock = clock
        self._started_at = clock()

    def observe(self, event: Event) -> None:
        """Record one event."""
        match event:
            case Started(job_type, _, waited) if waited is not None:
                second = self._now(job_type)
                second.started += 1
                second.waited += waited
            case Executed(job_type, "failed_retryable" | "failed_final" as outcome, _, message, instance_id):
                failures = self.failed if outcome == "failed_final" else self.retried
                failures.append(Failure(time.time(), job_type, instance_id, message[:MESSAGE_CHARS]))
            case Reported(job_type, outcome, "accepted", _):
                activity = self.types[job_type]
                match outcome:
                    case "completed":
                        activity.completed += 1
                    case "failed_retryable":
                        activity.retried += 1
                    case "failed_final":
                        activity.failed += 1
                self._now(job_type).ended += 1
            case _:
                pass

    def rate(self, job_type: str) -> float:
        """Return how many jobs of a type ended per second, over the last minute."""
        ended = sum(second.ended for second in self._recent(job_type))
        return ended / max(1.0, min(SECONDS, self._clock() - self._started_at))

    def wait(self, job_type: str) -> float | None:
        """Return how long those that started in the last minute had waited, on average; None if there were none."""
        started = sum(second.started for second in self._recent(job_type))
        return sum(second.waited for second in self._recent(job_type)) / started if started else None

    def series(self, job_type: str) -> list[Second]:
        """Return each second of the last minute, the current one left out: it is not over."""
        known = {second.at: second for second in self.types[job_type].seconds}
        now = int(self._clock())
        return [known.get(at) or Second(at) for at in range(now - SECONDS, now)]

    def _recent(self, job_type: str) -> list[Second]:
        since = self._clock() - SECONDS
        return [second for second in self.types[job_type].seconds if second.at > since]

    def _now(self, job_type: str) -> Second:
        seconds, at = self.types[job_type].seconds, int(self._clock())
        if not seconds or seconds[-1].at != at:
            seconds.append(Second(at))
        return seconds[-1]
