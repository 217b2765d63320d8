"""Jobs from Kafka: which records may start, and which offsets may be committed.

Everything here runs on the event loop; the client's threads are in consumer.py. A record is worked off when the engine
has accepted the outcome of its job, or never will; only then is its offset done.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random

import structlog
from confluent_kafka import Message

from rochallor_worker.events import Duplicate, Observer, Skipped
from rochallor_worker.source.base import Delivery, PartitionState, Trouble, Verdict
from rochallor_worker.source.brokers import Kafka
from rochallor_worker.source.consumer import SESSION_SECONDS
from rochallor_worker.source.deadletter import DeadLetters
from rochallor_worker.source.dedup import Dedup
from rochallor_worker.source.offsets import Offsets
from rochallor_worker.source.ordering import KeyedQueue
from rochallor_worker.source.standstill import Standstill
from rochallor_worker.source.topic import Record, Topic

REVOKE_SECONDS = 30.0
"""Longest wait for running jobs before their partition is given to another worker (or the drain timeout, if shorter).
The group is patient for five minutes."""

STILL_SECONDS = SESSION_SECONDS - 3.0
"""Longest standstill of this process after which its partitions are certainly still its own."""
BEAT_SECONDS = 1.0
"""Time between two looks at whether the process stood still."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class KafkaSource:
    """`Source` over one consumer per job type. Times in seconds; `clock` is `time.monotonic` outside tests.

    `parallelism` sets how many records are fetched ahead. Raises `StartError` for settings the client refuses.
    """

    def __init__(
        self,
        kafka: Kafka,
        worker_id: str,
        job_types: Sequence[str],
        *,
        parallelism: int,
        drain_timeout: float,
        observer: Observer,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._queue: KeyedQueue[Record] = KeyedQueue()
        self._dedup: Dedup[Record] = Dedup(kafka.dedup_window, clock)
        self._observe = observer
        self._clock = clock
        self._revoke_seconds = min(drain_timeout, REVOKE_SECONDS)
        self._dead_letters = DeadLetters(kafka, random) if kafka.dead_letter else None
        self._topics = [Topic(self, kafka, job_type, worker_id, 2 * parallelism) for job_type in job_types]
        self._out: set[Record] = set()
        self._waits: list[tuple[set[Record], asyncio.Event]] = []
        self._standstill = Standstill(STILL_SECONDS, clock)
        self._beating: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closed = self._left = False
        self._crash: BaseException | None = None

    @property
    def leased(self) -> bool:
        """No: a record that is not committed is given out anew as soon as we are gone."""
        return False

    @property
    def trouble(self) -> Trouble | None:
        """The first consumer's that has any, or that of the dead letters: soon no more records are fetched."""
        dead_letters = None if self._dead_letters is None else self._dead_letters.trouble
        return next((topic.consumer.trouble for topic in self._topics if topic.consumer.trouble), dead_letters)

    @property
    def stuck(self) -> str:
        """Names a consumer whose thread does not turn any more."""
        stuck = (topic.consumer.topic for topic in self._topics if topic.consumer.stuck)
        return next((f"the consumer of {name!r} does not turn any more" for name in stuck), "")

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
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat(), name="kafka beat")
            for topic in self._topics:
                topic.consumer.start()
        while not (self._queue.ready and self._sure()) and not self._closed and self._crash is None:
            self._wake.clear()
            await self._wake.wait()
        if self._crash is not None:
            raise self._crash

    async def take(self, count: int) -> list[Delivery]:
        """Return up to `count` records that may start now."""
        deliveries: list[Delivery] = []
        while len(deliveries) < count and self._queue.ready and not self._closed and self._sure():
            record = self._queue.take()
            self._out.add(record)
            record.topic.consumer.make_room(1)
            settle, ours = partial(self._settle, record), partial(self._holds, record)
            deliveries.append(Delivery(record.job, record.received_at, None, None, settle, ours))
        return deliveries

    def close(self) -> None:
        """Start no more records. The group is left only by `aclose`, so that nobody else runs what runs here."""
        self._closed = True
        self._wake.set()

    async def aclose(self) -> None:
        """Commit what is done and leave the groups."""
        self._left = True
        if self._beating is not None:
            self._beating.cancel()
        if self._dead_letters is not None:
            self._dead_letters.close()
        await asyncio.gather(*(topic.consumer.stop() for topic in self._topics))

    # for the topics: `Intake`

    def now(self) -> float:
        """Return the time on the clock of this source."""
        return self._clock()

    def accept(self, record: Record) -> bool:
        """Take in a record; False if it need not wait in line, since its event is known."""
        if self._dedup.ended(record.dedup_id):
            self._observe(Duplicate(record.job.job_type))
            record.topic.done([record])
            return False
        if not self._dedup.begin(record.dedup_id, record):
            self._observe(Duplicate(record.job.job_type))
            return False
        self._queue.put(record.job.instance_id, record)
        return True

    def wake(self) -> None:
        """Say that records may have come."""
        self._wake.set()

    def crashed(self, error: BaseException) -> None:
        """A consumer's thread has ended by an error."""
        self._crash = error
        self._wake.set()

    def drop(self, gone: Iterable[Offsets]) -> None:
        """Forget the waiting records of partitions that are no longer ours."""
        lost = set(map(id, gone))
        for record in self._queue.drop(lambda record: id(record.offsets) in lost):
            record.topic.consumer.make_room(1)
            self._accept_repeats(record, lambda repeat: id(repeat.offsets) not in lost)

    async def running_ended(self, gone: Iterable[Offsets]) -> None:
        """Wait for the jobs that run of these partitions, for as long as there is time."""
        lost = set(map(id, gone))
        running = {record for record in self._out if id(record.offsets) in lost}
        if not running or self._left:
            return
        wait = (running, asyncio.Event())
        self._waits.append(wait)
        try:
            async with asyncio.timeout(self._revoke_seconds):
                await wait[1].wait()
        except TimeoutError:
            log.warning("a partition is given up while jobs of it run: they will run elsewhere too", jobs=len(running))
        finally:
            self._waits.remove(wait)

    def skip(self, job_type: str, message: Message, why: str, then: Callable[[], None]) -> None:
        """Put aside a record that is no job."""
        self._observe(Skipped(job_type))
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

    async def _beat(self) -> None:
        """Tell a standstill from time that passes, and go on after one."""
        while True:
            self._sure()
            self._standstill.beat()
            self._wake.set()
            await asyncio.sleep(BEAT_SECONDS)

    def _sure(self) -> bool:
        """Whether the partitions are still those that we know of. After a standstill the brokers are asked first."""
        if self._standstill.noticed():
            for topic in self._topics:
                topic.consumer.doubt()
        return not any(topic.partitions and topic.consumer.doubtful for topic in self._topics)

    async def _holds(self, record: Record) -> bool:
        """Whether the partition of a record is still ours, as soon as that is certain."""
        while not self._sure():  # noqa: ASYNC110 — the beat would wake too many
            await asyncio.sleep(BEAT_SECONDS)
        return record.topic.holds(record)

    def _settle(self, record: Record, verdict: Verdict) -> None:
        if verdict == "refused":
            # nothing will ever come of it, and nobody would hear of it again
            self._put_aside(record.message, "the engine refused the outcome of this job", partial(self._end, record))
        elif verdict == "accepted":
            self._end(record)
        else:  # it is another worker's now, unless it has come to us again meanwhile
            self._accept_repeats(record, lambda repeat: repeat is not record)
            self._let_go(record)
        self._queue.done(record.job.instance_id)
        self._wake.set()

    def _let_go(self, record: Record) -> None:
        """Nothing more is done for a record that was out: its partition need not wait for it."""
        self._out.discard(record)
        for running, all_ended in self._waits:
            running.discard(record)
            if not running:
                all_ended.set()

    def _accept_repeats(self, record: Record, allowed: Callable[[Record], bool]) -> None:
        """A record will not be worked off here: one of its repeats takes its place, if we have its partition."""
        for repeat in self._dedup.drop(record.dedup_id):
            if allowed(repeat) and repeat.topic.holds(repeat) and self.accept(repeat):
                repeat.topic.consumer.make_room(-1)

    def _end(self, record: Record) -> None:
        """The record and its repeats are worked off."""
        ended = self._dedup.end(record.dedup_id)
        for topic in {one.topic for one in ended}:
            topic.done([one for one in ended if one.topic is topic])
        self._let_go(record)
