"""The gate of each job type: how many more of its jobs may be asked for now.

A source asks for no more than there is room for, so no job waits here while its lease runs. What narrows a gate are the
limits of its type (handlers/limits.py), its breaker, and jobs that are parked.
"""

import asyncio
import math
from collections.abc import Callable
from pathlib import Path

from rochallor_worker.handlers.breaker import Circuit
from rochallor_worker.handlers.limits import Limits
from rochallor_worker.logger import get_logger

MAX_PARKED = 1000
"""Most jobs of one type that are parked; with more, no others are asked for."""
DOUBT_SECONDS = 1.0
"""How long a failure that would end its instance waits while no other run of its type shows what is at fault."""
LONGEST_DOUBT_SECONDS = 60.0
"""How long it waits at most, while others run and fail."""
LOOK_SECONDS = 1.0
"""Time between two looks at the number of pods."""
MAX_PODS = 100_000
"""Most pods that a file can speak of: more is no number of pods, and would stop the type."""

ROUNDING = 1e-6
"""The part of a token that may be missing, and the seconds that are not waited for: they are lost in rounding, and
would be waited for again and again."""
LEAD_SECONDS = 1.0
"""How long a parked job leaves the probe to jobs that are asked for, when it is their turn."""

log = get_logger(__name__)


class Bucket:
    """A token bucket: `per_second` runs, divided by the number of pods, and no more at once than those of one second.

    It starts with one token. The number of pods is looked up once a second.
    """

    def __init__(self, per_second: float, pods: Callable[[], int], clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._pods = pods
        self._clock = clock
        self._rate = per_second / pods()
        self._tokens = 1.0
        self._filled_at = self._looked_at = clock()

    @property
    def tokens(self) -> float:
        """How many runs may begin now."""
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:  # before it is filled: with fewer runs a second it holds fewer
            self._looked_at, self._rate = now, self._per_second / self._pods()
        self._tokens = min(self.most, self._tokens + self._rate * (now - self._filled_at))
        self._filled_at = now
        return self._tokens

    @property
    def most(self) -> float:
        """How many it holds."""
        return max(1.0, self._rate)

    def take(self) -> None:
        """Take one token; a run that nobody asked for may take one that is not there yet."""
        self._tokens = self.tokens - 1

    def full_at(self, tokens: float) -> float:
        """Return when there will be so many tokens, on the clock; before that, when there may be fewer pods."""
        seconds = max(0.0, tokens - self.tokens) / self._rate
        return self._clock() + (seconds if self._pods is one_pod else min(seconds, LOOK_SECONDS))


class Gate:
    """The gate of one job type. `clock` gives seconds; `pods` how many pods share a rate with the scope `resource`."""

    def __init__(self, job_type: str, limits: Limits, clock: Callable[[], float], pods: Callable[[], int]) -> None:
        self.job_type = job_type
        self.circuit = Circuit(limits.breaker)
        self.parked = 0
        self.due = 0
        """Parked jobs that may run again."""
        self.changed: Callable[[], None] = _nothing
        """Called when there may be more room, or a parked job may go on."""
        self.limits = limits
        self._clock = clock
        self._running = 0
        self._waiting = 0
        """Jobs that have come and not begun."""
        self._asked_for = 0
        self._prober: Permit | None = None
        """Who has the latest probe."""
        self._turn_of_others = False
        """Whether the next probe is for a job that is not parked here."""
        self._bucket = None
        if limits.per_second is not None:
            self._bucket = Bucket(limits.per_second, pods if limits.scope == "resource" else one_pod, clock)
        self._failures = 0
        self._doubts: set[asyncio.Future[None]] = set()

    @property
    def running(self) -> int:
        """How many of its jobs run here; not those that are parked."""
        return self._running

    @property
    def room(self) -> int:
        """How many more jobs may be asked for now: parked ones that are due come first."""
        if self.circuit.open:
            return self._free if self._turn_of_others or not self.due else 0
        return max(0, self._free - self.due)

    @property
    def room_for_parked(self) -> int:
        """How many parked jobs may run again now. They take turns with others to be the probe: all may be bad ones."""
        if self.circuit.open and self._turn_of_others and self._clock() < self.circuit.probe_at + LEAD_SECONDS:
            return 0
        return self._free_of(self._unused_by_parked)

    @property
    def held_back(self) -> bool:
        """Whether jobs wait here for what more pods would not change: the breaker, or the rate of all pods together.

        A rate that is used up leaves few tokens at any time, and one that is not leaves most.
        """
        if self.circuit.open:
            return True
        bucket = self._bucket
        return bucket is not None and self.limits.scope == "resource" and bucket.tokens < max(1.0, bucket.most / 2)

    @property
    def opens_at(self) -> float:
        """When time alone makes room, on the clock; infinity if only the end of a run can."""
        if self.circuit.open:
            may_ask = self._unused > 0 and (self._turn_of_others or not self.due)
            return max(self.circuit.probe_at, self._enough_at(1.0)) if may_ask else math.inf
        return self._enough_at(1.0 + self._asked_for + self.due) if self._unused > self.due else math.inf

    @property
    def _free(self) -> int:
        """How many more jobs may come now."""
        return self._free_of(self._unused)

    def _free_of(self, free: int) -> int:
        if self.circuit.open and self._clock() < self.circuit.probe_at:
            return 0
        if self._bucket is not None and free > 0:
            free = min(free, int(self._bucket.tokens + ROUNDING) - self._asked_for)
        return max(0, free)

    @property
    def _unused(self) -> int:
        """How many more jobs could come, whatever the time: any of them may be parked."""
        return self._unused_by_parked if self.circuit.open else min(MAX_PARKED - self.parked, self._unused_by_parked)

    @property
    def _unused_by_parked(self) -> int:
        """How many parked jobs could run again, whatever the time: however many there are."""
        unused = MAX_PARKED
        if self.circuit.open:  # one at a time, the probe
            unused = 0 if self.circuit.probing or self._asked_for else 1
        if self.limits.parallelism is not None:
            unused = min(unused, self.limits.parallelism - self._running + len(self._doubts) - self._asked_for)
        return unused

    def _enough_at(self, tokens: float) -> float:
        return -math.inf if self._bucket is None else self._bucket.full_at(tokens)

    @property
    def _busy(self) -> int:
        """How many runs may still fail or succeed."""
        return self._running - self._waiting - len(self._doubts)

    def ask(self, count: int) -> None:
        """Note that so many jobs are being asked for; -count once they have come."""
        self._asked_for += count

    def enter(self, *, parked: bool = False) -> "Permit":
        """Admit a job that has come, or was parked."""
        self._running += 1
        self._waiting += 1
        if self._bucket is not None:
            self._bucket.take()
        return Permit(self, parked=parked)

    async def doubt(self, since: float, until: Callable[[], float]) -> None:
        """Wait until runs of other jobs show whether a failure is the job's own fault.

        Returns at once where one has succeeded since a time, and when the breaker opens; when `until` has passed, a
        time on the clock that may change; and when for `DOUBT_SECONDS` no other has failed and none is running: slow
        ones take long to fail together.
        """
        shown: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._doubts.add(shown)
        self.changed()  # it does not run any more: there is room for another one
        longest, failures = self._clock() + LONGEST_DOUBT_SECONDS, None
        try:
            while not (self.circuit.breaker is None or self.circuit.open or self.circuit.succeeded_at >= since):
                left = min(DOUBT_SECONDS, min(longest, until()) - self._clock())
                if shown.done() or left <= 0 or (failures == self._failures and self._busy <= 0):
                    return
                failures = self._failures
                await asyncio.wait({shown}, timeout=left)
        finally:
            self._doubts.discard(shown)

    def end_doubts(self) -> None:
        """Let all who doubt go on."""
        for shown in self._doubts:
            if not shown.done():
                shown.set_result(None)

    # for its permits

    def begin(self, permit: "Permit") -> bool:
        """Begin a run; return whether it may begin."""
        self._waiting -= 1
        if not self.circuit.open:
            return True
        if not self.circuit.probe(self._clock()):
            return False
        self._prober, self._turn_of_others = permit, permit.parked
        return True

    def succeeded(self) -> None:
        """Note that a run has succeeded."""
        if self.circuit.succeeded(self._clock()):
            log.info("the breaker has closed: a run has succeeded", job_type=self.job_type)
            self.changed()
        self.end_doubts()

    def failed(self, permit: "Permit", reason: str) -> bool:
        """Note that a run has failed, for a reason that may pass; return whether the breaker is open."""
        if self.circuit.open:
            self._end_probe(permit, failed=True)
            return True
        self._failures += 1
        if not self.circuit.failed(self._clock(), reason):
            return False
        log.error(
            "the breaker has opened: runs fail one after another; the jobs wait and lose no retry",
            job_type=self.job_type,
            error=reason,
        )
        self._turn_of_others = False
        self.end_doubts()
        return True

    def leave(self, permit: "Permit", *, begun: bool) -> None:
        """Note that a job has left; what it began as a probe has no verdict then."""
        self._running -= 1
        if not begun:
            self._waiting -= 1
        self._end_probe(permit, failed=False)
        self.changed()

    def _end_probe(self, permit: "Permit", *, failed: bool) -> None:
        # a probe may outlast the opening it was for, and another one may be under way by then
        if self._prober is permit:
            self._prober = None
            if self.circuit.probing:
                self.circuit.probe_ended(self._clock(), failed=failed)


class Permit:
    """Lets one job run. A context: at its end the job has left the gate."""

    __slots__ = ("_begun", "_gate", "parked")

    def __init__(self, gate: Gate, *, parked: bool) -> None:
        self.parked = parked
        self._gate = gate
        self._begun = False

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._gate.leave(self, begun=self._begun)

    def begin(self) -> bool:
        """Begin the run; return whether it may begin: the breaker may have opened since the job was asked for."""
        self._begun = True
        return self._gate.begin(self)

    def succeeded(self) -> None:
        """Note that the run has succeeded."""
        self._gate.succeeded()

    def failed(self, reason: str) -> bool:
        """Note that the run has failed, for a reason that may pass; return whether the breaker is open."""
        return self._gate.failed(self, reason)


def one_pod() -> int:
    """The number of pods where nobody says it."""
    return 1


def pods_of(file: Path) -> Callable[[], int]:
    """Return what reads the number of pods from a file, which the operator keeps; 1 if it holds none."""

    def read() -> int:
        try:
            pods = int(file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 1
        return pods if 1 <= pods <= MAX_PODS else 1

    return read


def _nothing() -> None:
    return None
