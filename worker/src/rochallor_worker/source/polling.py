"""Jobs from polling the engine: when to ask, what the lease allows, what to do when the engine is away."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Literal

import structlog

from rochallor_worker.backoff import Backoff
from rochallor_worker.engine.base import MAX_JOBS_PER_POLL, EngineClient
from rochallor_worker.errors import DispatchMismatch, EngineError
from rochallor_worker.events import Observer, Polled, PollResult
from rochallor_worker.source.base import Delivery, PartitionState, Trouble, Verdict

LEASE_MARGIN = 1.0
"""Seconds kept free at the end of a lease, so that an outcome still travels inside it."""
MIN_GAP = 0.005
"""Least seconds between two polls: slots that free up meanwhile are asked for together."""
FIRST_IDLE_WAIT = 0.01
"""Seconds to wait after the first empty answer; doubles up to the poll interval."""
OUTAGE_WAIT_CAP = 30.0
"""Most seconds between polls while the engine is away or answers errors, and between polls of a mismatched one."""
UNHEALTHY_AFTER = 5.0
"""Seconds of failing polls after which they are called trouble: a restart of the engine is shorter."""

State = Literal["unknown", "up", "failing", "mismatch"]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class PollingSource:
    """`Source` that polls. All times in seconds; `clock` is `time.monotonic` outside tests."""

    def __init__(
        self,
        engine: EngineClient,
        worker_id: str,
        job_types: Sequence[str],
        *,
        poll_interval: float,
        lease: float,
        observer: Observer,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._job_types = job_types
        self._poll_interval = poll_interval
        self._lease = lease
        self._observe = observer
        self._clock = clock
        self._random = random
        self._outage = Backoff(0.1, OUTAGE_WAIT_CAP, self._random)
        self._idle_wait = FIRST_IDLE_WAIT
        self._asked_at = float("-inf")
        self._next_poll = float("-inf")
        self._accepted_since_asked = False
        self._wake = asyncio.Event()
        self._closed = False
        self._state: State = "unknown"
        self._failing_since = float("-inf")
        self._trouble = Trouble("EngineUnreachable", "the engine has not answered a poll yet")

    @property
    def leased(self) -> bool:
        """Yes: engine.md."""
        return True

    @property
    def trouble(self) -> Trouble | None:
        """Why the engine gives no jobs; a failure after an answer counts once it lasts."""
        if self._state == "up" or self._clock() - self._failing_since < UNHEALTHY_AFTER:
            return None
        return self._trouble

    @property
    def stuck(self) -> str:
        """Nothing: every poll ends by its timeout."""
        return ""

    @property
    def partitions(self) -> Mapping[tuple[str, int], PartitionState]:
        """None: that is Kafka's."""
        return {}

    async def ready(self) -> None:
        """Wait for the next time to poll; a complete that got through brings it forward."""
        while not self._closed and (wait := self._next_poll - self._clock()) > 0:
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def take(self, count: int) -> list[Delivery]:
        """Poll once for `count` jobs (`MAX_JOBS_PER_POLL` at most), or for one while polls fail.

        An engine that stands still carries out what it was asked when it goes on: jobs that it then gives out to
        nobody are locked for their lease (engine.md).
        """
        asked_at = self._asked_at = self._clock()
        self._accepted_since_asked = False
        asked_for = 1 if self._state == "failing" else min(count, MAX_JOBS_PER_POLL)
        try:
            jobs = await self._engine.poll_jobs(self._worker_id, self._job_types, asked_for)
        except DispatchMismatch as error:
            self._mismatched(error)
            return []
        except EngineError as error:
            self._failed(error)
            return []
        if len(jobs) > asked_for:
            log.error("the engine gave more jobs than asked for; the others are left to their leases", got=len(jobs))
            del jobs[asked_for:]
        self._answered(asked_for, len(jobs))
        lease_end = asked_at + self._lease  # it began after the request left, so this is never too late
        return [Delivery(job, asked_at, lease_end, lease_end - LEASE_MARGIN, self._settle) for job in jobs]

    def close(self) -> None:
        """Poll no more."""
        self._closed = True
        self._wake.set()

    async def aclose(self) -> None:
        """Leases end by themselves."""

    def _settle(self, verdict: Verdict) -> None:
        if verdict != "accepted":
            return
        # the next step of that instance can be polled now, and the engine is back if it was away
        self._accepted_since_asked = True
        self._idle_wait = FIRST_IDLE_WAIT
        if (soon := self._asked_at + MIN_GAP) < self._next_poll and self._state != "mismatch":
            self._next_poll = soon
            self._wake.set()

    def _answered(self, asked_for: int, got: int) -> None:
        if self._state in {"failing", "mismatch"}:
            log.info("the engine answers polls again")
        self._state = "up"
        self._outage.reset()
        self._tell("full" if got >= asked_for else "partial" if got else "empty")
        if got:
            self._idle_wait = FIRST_IDLE_WAIT
        if got >= asked_for or self._accepted_since_asked:
            self._next_poll = self._clock() + MIN_GAP
            return
        # jitter only lengthens the wait: an idle worker costs at most one poll an interval
        self._next_poll = self._clock() + self._idle_wait * self._random.uniform(1.0, 1.1)
        self._idle_wait = min(self._idle_wait * 2, self._poll_interval)

    def _tell(self, result: PollResult) -> None:
        self._observe(Polled(result, self._clock() - self._asked_at))

    def _failed(self, error: EngineError) -> None:
        self._tell("error")
        self._trouble = Trouble("EngineUnreachable", str(error))
        if self._state != "failing":
            log.warning("a poll failed; trying again with growing waits", error=str(error))
            self._failing_since = self._clock() if self._state == "up" else float("-inf")
            self._state = "failing"
        self._next_poll = self._clock() + self._outage.next()

    def _mismatched(self, error: DispatchMismatch) -> None:
        self._tell("mismatch")
        sentence = f"transport mismatch: the engine dispatches jobs over Kafka, this worker polls ({error})"
        self._trouble = Trouble("TransportMismatch", sentence)
        if self._state != "mismatch":
            log.error(sentence)
            self._failing_since = float("-inf")
            self._state = "mismatch"
        self._next_poll = self._clock() + OUTAGE_WAIT_CAP
