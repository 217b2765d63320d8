"""Jobs from Kafka: which records may start, and which offsets may be committed.

Everything here runs on the event loop; the client's threads are in consumer.py. A record is processed when the engine
has accepted the outcome of its job, or never will; only then is its offset done.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from random import Random

from confluent_kafka import Message

from rochallor_worker.events import Duplicate, Observer, Skipped, Verdict
from rochallor_worker.execution.gates import Gate
from rochallor_worker.execution.journal import Journal
from rochallor_worker.logger import get_logger
from rochallor_worker.source.base import Delivery, PartitionState, Problem
from rochallor_worker.source.kafka.connection import Kafka
from rochallor_worker.source.kafka.consumer import SESSION_SECONDS
from rochallor_worker.source.kafka.dead_letters import DeadLetters
from rochallor_worker.source.kafka.dedup import Dedup
from rochallor_worker.source.kafka.in_flight import InFlight
from rochallor_worker.source.kafka.offsets import Offsets
from rochallor_worker.source.kafka.ordering import KeyedQueue
from rochallor_worker.source.kafka.ownership import Stall
from rochallor_worker.source.kafka.topic import Record, Topic

REVOKE_SECONDS = 30.0
"""Longest wait for jobs in flight before their partition is given to another worker (or the drain timeout, if shorter).
The group would wait for five minutes."""

STALL_SECONDS = SESSION_SECONDS - 3.0
"""Longest stall of this process after which its partitions are certainly still its own."""
TICK_SECONDS = 1.0
"""Between two checks whether the process was stalled."""

log = get_logger(__name__)


class KafkaSource:
    """`Source` over one consumer per job type. Times in seconds; `clock` is `time.monotonic` outside tests.

    `parallelism` sets how many records are fetched ahead. Raises `StartError` for settings the client refuses.
    """

    def __init__(
        self,
        kafka: Kafka,
        worker_id: str,
        gates: Mapping[str, Gate],
        *,
        parallelism: int,
        drain_timeout: float,
        journal: Journal,
        observer: Observer,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._gates = gates
        self._queues: dict[str, KeyedQueue[str, Record]] = {job_type: KeyedQueue() for job_type in gates}
        """By job type, the one that had its turn last at the end."""
        self._dedup: Dedup[Record] = Dedup(kafka.dedup_window, clock)
        self._journal = journal
        self._emit = observer
        self._clock = clock
        self._revoke_seconds = min(drain_timeout, REVOKE_SECONDS)
        self._dead_letters = DeadLetters(kafka, random) if kafka.dead_letter else None
        self._topics = [Topic(self, kafka, job_type, worker_id, 2 * parallelism) for job_type in gates]
        for gate in gates.values():
            gate.changed = self.wake
        self._in_flight: InFlight[Record] = InFlight()
        self._stall = Stall(STALL_SECONDS, clock)
        self._ticking: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closed = self._left = False
        self._crash: BaseException | None = None

    @property
    def takers(self) -> int:
        """One: nothing is waited for."""
        return 1

    @property
    def leased(self) -> bool:
        """No: a record that is not committed is redelivered as soon as this worker leaves its group."""
        return False

    @property
    def problem(self) -> Problem | None:
        """That of the first consumer with one, or that of the dead letters: they soon stop the fetching too."""
        dead_letters = None if self._dead_letters is None else self._dead_letters.problem
        return next((topic.consumer.problem for topic in self._topics if topic.consumer.problem), dead_letters)

    @property
    def stuck(self) -> str:
        """Which consumer's thread no longer polls, if any."""
        stuck = (topic.consumer.topic for topic in self._topics if topic.consumer.stuck)
        return next((f"the consumer of {name!r} no longer polls" for name in stuck), "")

    @property
    def partitions(self) -> Mapping[tuple[str, int], PartitionState]:
        """Each assigned partition."""
        return {
            (topic.consumer.topic, number): PartitionState(topic.lag(number), number in topic.consumer.paused)
            for topic in self._topics
            for number in topic.partitions
        }

    async def ready(self) -> None:
        """Wait for a record that may start. Raises what ended a consumer's thread."""
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick(), name="kafka tick")
            for topic in self._topics:
                topic.consumer.start()
        while not (self._next() and self._ownership_verified()) and not self._closed and self._crash is None:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._opens_in()):
                    await self._wake.wait()
        if self._crash is not None:
            raise self._crash

    async def take(self, count: int, give_back: Callable[[int], None]) -> list[Delivery]:
        """Return up to `count` records that may start now."""
        deliveries: list[Delivery] = []
        while len(deliveries) < count and not self._closed and self._ownership_verified():
            if (job_type := self._next()) is None:
                break
            self._queues[job_type] = queue = self._queues.pop(job_type)  # it has had its turn
            record = queue.take()
            self._gates[job_type].ask(1)
            self._in_flight.add(record)
            record.topic.consumer.make_room(1)
            record.topic.free(record)
            settle, still_ours = partial(self._settle, record), partial(self._still_ours, record)
            deliveries.append(Delivery(record.job, record.received_at, None, settle, still_ours, record.leaving))
        for delivery in deliveries:
            self._gates[delivery.job.job_type].ask(-1)
        give_back(count - len(deliveries))
        return deliveries

    def _next(self) -> str | None:
        """Return the next job type with a record that may start and room in its gate; they take turns."""
        waiting = (job_type for job_type, queue in self._queues.items() if queue.ready)
        return next((job_type for job_type in waiting if self._gates[job_type].room > 0), None)

    def _opens_in(self) -> float | None:
        """Return the seconds until time alone may open the gate of a record that waits; None means never."""
        waiting = [self._gates[job_type] for job_type, queue in self._queues.items() if queue.ready]
        at = min((gate.opens_at for gate in waiting if gate.room <= 0), default=math.inf)  # others wait for no time
        return None if at == math.inf else max(0.001, at - self._clock())

    def close(self) -> None:
        """Start no more records. Only `aclose` leaves the group, so that nobody else runs what is in flight here."""
        self._closed = True
        self._wake.set()

    async def aclose(self) -> None:
        """Commit what is done and leave the groups."""
        self._left = True
        if self._ticking is not None:
            self._ticking.cancel()
        if self._dead_letters is not None:
            self._dead_letters.close()
        await asyncio.gather(*(topic.consumer.stop() for topic in self._topics))

    # for the topics: `Intake`

    def now(self) -> float:
        """Return the time on the clock of this source."""
        return self._clock()

    def accept(self, record: Record) -> bool:
        """Take in a record; False if it is not queued, since its event is known."""
        if self._dedup.ended(record.event) or self._journal.has_settled(record.event):
            self._emit(Duplicate(record.job.job_type))
            self._journal.repeated(record.event, record.place)
            record.topic.free(record)
            record.topic.done([record])
            return False
        if not self._dedup.begin(record.event, record):
            self._emit(Duplicate(record.job.job_type))
            return False
        self._queues[record.job.job_type].put(record.queue_key, record)
        return True

    def committed(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Note that the brokers have accepted these offsets of partitions."""
        self._journal.committed(topic, offsets)

    def wake(self) -> None:
        """Note that records may have come."""
        self._wake.set()

    def crashed(self, error: BaseException) -> None:
        """Note that an error has ended a consumer's thread."""
        self._crash = error
        self._wake.set()

    def drop(self, removed: Iterable[Offsets]) -> None:
        """Forget the waiting records of partitions that are no longer ours."""
        lost = set(map(id, removed))
        for queue in list(self._queues.values()):
            for record in queue.drop(lambda record: id(record.offsets) in lost):
                record.topic.consumer.make_room(1)
                self._accept_repeats(record, lambda repeat: id(repeat.offsets) not in lost)

    async def drained(self, removed: Iterable[Offsets]) -> None:
        """Wait for the jobs in flight of these partitions, as long as there is time."""
        lost = set(map(id, removed))
        if self._left:
            return
        for record in self._in_flight.items:
            if id(record.offsets) in lost:
                record.leaving.set()
        left = await self._in_flight.ended(lambda record: id(record.offsets) in lost, self._revoke_seconds)
        if left:
            log.warning("a partition is given up with jobs in flight: they will also run elsewhere", jobs=left)

    def skip(self, job_type: str, message: Message, why: str, then: Callable[[], None]) -> None:
        """Put aside a record that is not a job."""
        self._emit(Skipped(job_type))
        self._put_aside(message, why, then)

    def _put_aside(self, message: Message, why: str, then: Callable[[], None]) -> None:
        """Send a record to the dead letters, if there are any, then call `then`."""
        log.error(
            "a record cannot be processed and is skipped",
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            reason=why,
            dead_letter=self._dead_letters is not None,
        )
        if self._dead_letters is None:
            then()
        else:
            self._dead_letters.put(message, why, then)

    async def _tick(self) -> None:
        """Note progress, so that a stall can be detected, and wake `ready` once the ownership is verified."""
        while True:
            self._ownership_verified()
            self._stall.tick()
            self._wake.set()
            await asyncio.sleep(TICK_SECONDS)

    def _ownership_verified(self) -> bool:
        """Whether all partitions are certainly still ours. After a stall the brokers are asked first."""
        if self._stall.detected():
            for topic in self._topics:
                topic.consumer.verify_ownership()
        return all(topic.consumer.ownership_verified for topic in self._topics if topic.partitions)

    async def _still_ours(self, record: Record) -> bool:
        """Whether the partition of a record is still ours; waits until that is certain."""
        while not self._ownership_verified():  # noqa: ASYNC110 — an event would wake too many
            await asyncio.sleep(TICK_SECONDS)
        return record.topic.owns(record)

    def _settle(self, record: Record, verdict: Verdict) -> None:
        if verdict == "refused":
            # else it would vanish: once its offset is done, nothing redelivers it
            record.topic.retain(record)
            self._put_aside(record.message, "the engine refused the outcome of this job", partial(self._end, record))
        elif verdict == "accepted":
            self._end(record)
        else:  # it is another worker's now, unless it was redelivered to us meanwhile
            self._accept_repeats(record, lambda repeat: repeat is not record)
            self._in_flight.discard(record)
        self._queues[record.job.job_type].done(record.queue_key)
        self._wake.set()

    def _accept_repeats(self, record: Record, allowed: Callable[[Record], bool]) -> None:
        """A record will not be processed here: one of its repeats takes its place, if we own its partition."""
        for repeat in self._dedup.drop(record.event):
            if not (allowed(repeat) and repeat.topic.owns(repeat)):
                repeat.topic.free(repeat)
            elif self.accept(repeat):
                repeat.topic.consumer.make_room(-1)

    def _end(self, record: Record) -> None:
        """The record and its repeats are processed."""
        ended = self._dedup.end(record.event)
        self._journal.settled(record.job.key, record.event, [one.place for one in ended])
        for one in ended:
            one.topic.free(one)
        for topic in {one.topic for one in ended}:
            topic.done([one for one in ended if one.topic is topic])
        self._in_flight.discard(record)
