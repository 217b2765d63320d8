"""The breaker of a job type: when runs fail one after another, what they need is down, and running more only does harm.

It opens after so many failures in a row. While it is open the type is not asked for, apart from one job at a time, the
probe, after pauses that grow; a run that fails then is postponed and spends no retry. Any success closes it.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

from rochallor_worker.backoff import Backoff, is_number

PAUSES = Backoff(first=1.0, factor=2.0, most=30.0)
"""Before each probe. The last one is also how late, at most, the end of an outage is noticed."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Opens after `failures` runs that failed in a row: raised something, and not that no retry can help.

    With `within`, only those of the last so many seconds count. Raises `ValueError` for values that are not above 0.
    """

    failures: int = 20
    within: float | None = None

    def __post_init__(self) -> None:
        failures: Any = self.failures  # whatever the annotations say
        within: Any = self.within
        counted = isinstance(failures, int) and is_number(failures) and failures >= 1
        if not (counted and (within is None or (is_number(within) and 0 < within < math.inf))):
            raise ValueError(
                f"{self} is not possible: failures is a whole number from 1, and within is in seconds and above 0"
            )


DEFAULT = Breaker()


class Circuit:
    """The state of one breaker; pure. Without a breaker it never opens. `now` is in seconds, on any clock."""

    def __init__(self, breaker: Breaker | None) -> None:
        self.breaker = breaker
        self.open = False
        self.reason = ""
        """The last failure."""
        self.succeeded_at = -math.inf
        self.probe_at = -math.inf
        """When the next probe may begin, while it is open."""
        self.probing = False
        self._failures: deque[float] = deque(maxlen=breaker.failures if breaker is not None else 1)
        self._probes = 0

    def succeeded(self, now: float) -> bool:
        """Note a success; return whether that closes it. It need not be the probe's: another run shows as much."""
        self.succeeded_at = now
        self._failures.clear()
        closed, self.open, self.probing = self.open, False, False
        return closed

    def failed(self, now: float, reason: str) -> bool:
        """Note a failure while it is closed; return whether that opens it."""
        if self.breaker is None:
            return False
        self._failures.append(now)
        self.reason = reason
        full = len(self._failures) == self.breaker.failures
        if not full or (self.breaker.within is not None and now - self._failures[0] > self.breaker.within):
            return False
        self.open, self.probing, self._probes = True, False, 0
        self.probe_at = now + PAUSES.pause(0)
        return True

    def probe(self, now: float) -> bool:
        """Begin a probe if one may begin; return whether it did."""
        if self.probing or now < self.probe_at:
            return False
        self.probing = True
        return True

    def probe_ended(self, now: float, *, failed: bool) -> None:
        """End the probe. The next one comes after a pause, which is longer each time that one fails."""
        self.probing = False
        self._probes += failed
        self.probe_at = now + PAUSES.pause(self._probes)
