"""Jobs by polling the engine: when to poll, how long the leases are, what to do in an outage."""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Literal

from rochallor_worker.backoff import Jitter
from rochallor_worker.engine.client import MAX_JOBS_PER_POLL, ClaimedJob, EngineClient
from rochallor_worker.errors import DispatchMismatch, EngineError
from rochallor_worker.events import Leased, Observer, Polled, PollResult, Verdict
from rochallor_worker.execution.gates import ROUNDING, Gate
from rochallor_worker.execution.lease import Grant, Lease, granted
from rochallor_worker.logger import get_logger
from rochallor_worker.source.base import Delivery, PartitionState, Problem, engine_problem
from rochallor_worker.source.turns import Turns

MIN_GAP = 0.005
"""Least seconds between two polls: slots that become free meanwhile share the next one."""
MAX_POLLS = 4
"""Most polls in flight. More than one only where the engine has more jobs than were asked for."""
FIRST_IDLE_WAIT = 0.01
"""Seconds to wait after the first empty answer; doubles up to the poll interval."""
OUTAGE_WAIT_CAP = 30.0
"""Most seconds between polls while they fail, and between polls of an engine that dispatches over Kafka."""
MAX_CLOCK_SKEW = 1.0
"""Seconds between the engine's clock and the database's above which a warning is logged."""
UNHEALTHY_AFTER = 5.0
"""Seconds of failing polls after which they are a problem: a restart of the engine is shorter."""

LOG_EVERY = 60.0
"""Seconds between two log lines about polls that keep failing."""

State = Literal["unknown", "up", "failing", "mismatch"]

log = get_logger(__name__)


class PollingSource:
    """`Source` that polls. All times in seconds; `clock` is `time.monotonic` outside tests.

    `lease` is the length to ask for.
    """

    def __init__(
        self,
        engine: EngineClient,
        worker_id: str,
        gates: Mapping[str, Gate],
        *,
        poll_interval: float,
        lease: float,
        observer: Observer,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._gates = gates
        self._turns = Turns(list(gates), lambda job_type: gates[job_type].room)
        self._poll_interval = poll_interval
        self._lease = lease
        self._grant: Grant | None = None
        self._emit = observer
        self._clock = clock
        self._random = random
        self._outage = Jitter(0.1, OUTAGE_WAIT_CAP, self._random)
        self._idle_wait = FIRST_IDLE_WAIT
        self._in_flight = 0
        self._asked_at = float("-inf")
        self._next_poll = float("-inf")
        self._accepted = 0
        """Outcomes that the engine has accepted."""
        self._wake = asyncio.Event()
        self._waits_for_room = False
        for gate in gates.values():
            gate.changed = self._changed
        self._closed = False
        self._state: State = "unknown"
        self._failing_since = self._failed_at = float("-inf")
        self._logged_at = float("-inf")
        self._problem = Problem("Starting", "the engine has not answered the first poll yet")

    @property
    def takers(self) -> int:
        """As many as there may be polls in flight."""
        return MAX_POLLS

    @property
    def leased(self) -> bool:
        """Always: engine.md."""
        return True

    @property
    def problem(self) -> Problem | None:
        """Why the engine gives no jobs; after a first answer a failure counts once it lasts."""
        if self._state == "up" or self._clock() - self._failing_since < UNHEALTHY_AFTER:
            return None
        return self._problem

    @property
    def stuck(self) -> str:
        """Never: every poll ends by its timeout."""
        return ""

    @property
    def partitions(self) -> Mapping[tuple[str, int], PartitionState]:
        """None: only Kafka has partitions."""
        return {}

    async def ready(self) -> None:
        """Wait for the next time to poll, when a gate has room; an accepted outcome brings it forward."""
        while not self._closed and (wait := self._poll_at() - self._clock()) > ROUNDING:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wait == math.inf else wait):
                    await self._wake.wait()

    async def take(self, count: int, give_back: Callable[[int], None]) -> list[Delivery]:
        """Poll once for `count` jobs (`MAX_JOBS_PER_POLL` at most), or for one while polls fail; for fewer if the gates
        have less room.

        An engine that is frozen carries out its requests when it goes on: jobs that it then gives to nobody are locked
        for their lease (engine.md).
        """
        most = 1 if self._state == "failing" else min(count, MAX_JOBS_PER_POLL)
        job_types, asked_for = self._turns.next(most, self._clock())
        give_back(count - asked_for)
        if not job_types:  # a gate has closed since `ready`
            return []
        asked_at = self._asked_at = self._clock()
        jobs = await self._poll(job_types, asked_for, asked_at)
        self._wake.set()  # there is one poll less in flight
        give_back(asked_for - len(jobs))
        now = datetime.now(UTC)
        # a lease began after the request left, so counted from there its end is never too late
        return [Delivery(job, asked_at, Lease(job, asked_at, self._granted(job, now)), self._settle) for job in jobs]

    async def _poll(self, job_types: Sequence[str], count: int, asked_at: float) -> list[ClaimedJob]:
        """Poll for `count` jobs; none come if the poll fails."""
        accepted = self._accepted
        try:
            with self._asking(job_types, count):
                jobs = await self._engine.poll_jobs(self._worker_id, job_types, count, self._lease)
        except DispatchMismatch as error:
            self._polled("mismatch", asked_at)
            self._mismatched(error)
            return []
        except EngineError as error:
            self._polled("error", asked_at)
            self._failed(error, asked_at)
            return []
        self._turns.answered(job_types, count, [job.job_type for job in jobs])
        if len(jobs) > count:
            log.error("the engine gave more jobs than asked for; the rest is left to its leases", got=len(jobs))
            del jobs[count:]
        result: PollResult = "full" if len(jobs) == count else "partial" if jobs else "empty"
        self._polled(result, asked_at)
        self._answered(result, self._accepted > accepted)
        return jobs

    @contextlib.contextmanager
    def _asking(self, job_types: Sequence[str], count: int) -> Iterator[None]:
        """Keep room for the answer to a poll: any of the types may have all of its jobs."""

        def ask(change: int) -> None:
            self._turns.ask(job_types, change)
            for job_type in job_types:
                self._gates[job_type].ask(change)

        self._in_flight += 1
        ask(count)
        try:
            yield
        finally:
            self._in_flight -= 1
            ask(-count)

    def _poll_at(self) -> float:
        """Return when to poll: not before a gate opens, and soon if a backlogged type has room, also while other polls
        are in flight."""
        shut = [gate for gate in self._gates.values() if gate.room <= 0]
        self._waits_for_room = bool(shut)
        soon = self._asked_at + MIN_GAP
        hurried = self._turns.hurried and self._state == "up"
        if self._in_flight:
            return soon if hurried else math.inf
        at = min(self._next_poll, soon) if hurried else self._next_poll
        if len(shut) < len(self._gates):
            opening = (gate.opens_at for gate in shut if self._turns.backlogged(gate.job_type))
            return min(at, max(min(opening, default=math.inf), self._clock() + MIN_GAP))
        opens_at = min(gate.opens_at for gate in shut)
        return max(at, opens_at, self._clock() + MIN_GAP)  # never again at once, whatever the gates say

    def _changed(self) -> None:
        """Note that a gate may have more room; each job that ends says so, mostly of a gate that had room before."""
        if self._waits_for_room:
            self._wake.set()

    def close(self) -> None:
        """Poll no more."""
        self._closed = True
        self._wake.set()

    async def aclose(self) -> None:
        """Nothing to release: leases end by themselves."""

    def _granted(self, job: ClaimedJob, now: datetime) -> Grant:
        """Return the lease that a claim got; report when it differs from the last one."""
        grant = granted(job, self._lease, now)
        known, self._grant = self._grant, grant
        if known is None or abs(grant.length - known.length) > 0.1 or grant.nominal != known.nominal:
            self._emit(Leased(grant.length, grant.clock_skew))
            if grant.nominal != self._lease:
                log.warning("the engine's leases are not as long as asked for", asked=self._lease, got=grant.nominal)
            if abs(grant.clock_skew) > MAX_CLOCK_SKEW:
                log.warning("the engine's clock and its database's differ", seconds=round(grant.clock_skew, 1))
        return grant

    def _settle(self, verdict: Verdict) -> None:
        if verdict != "accepted":
            return
        # the instance's next step can be polled now; and if there was an outage, it is over
        self._accepted += 1
        self._idle_wait = FIRST_IDLE_WAIT
        if (soon := self._asked_at + MIN_GAP) < self._next_poll and self._state != "mismatch":
            self._next_poll = soon
            self._wake.set()

    def _answered(self, result: PollResult, accepted: bool) -> None:
        """Note an answer; `accepted` says that an outcome was since it was asked for."""
        if self._state in {"failing", "mismatch"}:
            log.info("the engine answers polls again")
        self._state = "up"
        self._outage.reset()
        if result != "empty":
            self._idle_wait = FIRST_IDLE_WAIT
        if result == "full" or accepted:
            self._next_poll = self._clock() + MIN_GAP
        elif not self._in_flight:  # else the last of those decides
            # jitter only lengthens the wait: an idle worker costs at most one poll an interval
            self._next_poll = self._clock() + self._idle_wait * self._random.uniform(1.0, 1.1)
            self._idle_wait = min(self._idle_wait * 2, self._poll_interval)

    def _polled(self, result: PollResult, asked_at: float) -> None:
        self._emit(Polled(result, self._clock() - asked_at))

    def _failed(self, error: EngineError, asked_at: float) -> None:
        self._problem = engine_problem(error)
        if self._state != "failing" or self._clock() - self._logged_at >= LOG_EVERY:
            log.warning("a poll failed; trying again with growing waits", error=str(error))
            self._logged_at = self._clock()
        if self._state != "failing":
            self._failing_since = self._clock() if self._state == "up" else float("-inf")
            self._state = "failing"
        if asked_at > self._failed_at:  # else it fails with another one, for which the wait has grown
            self._next_poll = self._clock() + self._outage.next()
        self._failed_at = self._clock()

    def _mismatched(self, error: DispatchMismatch) -> None:
        message = f"transport mismatch: the engine dispatches jobs over Kafka, this worker polls ({error})"
        self._problem = Problem("TransportMismatch", message)
        if self._state != "mismatch":
            log.error(message)
            self._failing_since = float("-inf")
            self._state = "mismatch"
        self._next_poll = self._clock() + OUTAGE_WAIT_CAP
