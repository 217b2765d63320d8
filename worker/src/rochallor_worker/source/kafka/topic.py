"""The records of one topic: taken in, processed, committed."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from confluent_kafka import Message

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.settled import Place
from rochallor_worker.source.kafka import client
from rochallor_worker.source.kafka.connection import Kafka
from rochallor_worker.source.kafka.consumer import Consumer
from rochallor_worker.source.kafka.offsets import Offsets
from rochallor_worker.source.kafka.records import UndecodableError, decode

MAX_WIDTH = 5000
"""Records of a partition, from the lowest that is not done, above which no more of them are fetched: all of them are
redelivered if this process dies. Fetching goes on at half of this."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A job and the place it came from."""

    topic: "Topic"
    offsets: Offsets
    """Of its partition since it was assigned."""
    message: Message
    place: Place
    event: str
    """The dedup id: the same wherever it is redelivered."""
    job: ClaimedJob
    received_at: float
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its partition goes to another worker while its job is in flight."""

    @property
    def queue_key(self) -> str:
        """Jobs of a type with the same key run in order: the engine needs no other order (engine.md: the key of a
        topic's records)."""
        return self.job.instance_id


class Intake(Protocol):
    """What all topics share: the queue of records, and the jobs in flight."""

    def now(self) -> float:
        """Return the time in seconds, on the clock of `Delivery.claimed_at`."""
        ...

    def accept(self, record: Record) -> bool:
        """Take in a record; False if it is not queued."""
        ...

    def skip(self, job_type: str, message: Message, why: str, then: Callable[[], None]) -> None:
        """Put aside a record that is not a job, then call `then`."""

    def wake(self) -> None:
        """Note that records may have come."""

    def drop(self, removed: Iterable[Offsets]) -> None:
        """Forget the waiting records of partitions that are no longer ours."""

    async def drained(self, removed: Iterable[Offsets]) -> None:
        """Wait for the jobs in flight of these partitions, as long as there is time."""

    def committed(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Note that the brokers have accepted these offsets of partitions."""

    def crashed(self, error: BaseException) -> None:
        """Note that an error has ended a consumer's thread."""


class Topic:
    """The topic of one job type: the `Listener` of its consumer."""

    def __init__(self, intake: Intake, kafka: Kafka, job_type: str, worker_id: str, room: int) -> None:
        self.partitions: dict[int, Offsets] = {}
        self.consumer = Consumer(kafka, job_type, worker_id, self, room)
        self._intake = intake
        self._job_type = job_type
        self._buffered: set[Record] = set()
        """Records in memory that are not in flight: queued ones, repeats, and those that wait to be put aside."""
        self._wide: frozenset[int] = frozenset()

    def lag(self, partition: int) -> int:
        """Return how many records of a partition are not processed, as far as is known."""
        return self.consumer.lag(partition, self.partitions[partition].committable)

    def owns(self, record: Record) -> bool:
        """Whether the partition of a record has been ours since the record came, without a break."""
        return self.partitions.get(record.place.partition) is record.offsets

    def done(self, records: Sequence[Record]) -> None:
        """Note that these are processed, and commit as far as possible."""
        for record in records:
            record.offsets.done(record.place.offset)
        for record in records:
            self._advance(record.place.partition, record.offsets)

    def retain(self, record: Record) -> None:
        """Keep a record in memory after its job has run."""
        self._buffered.add(record)
        self.consumer.free(-client.size(record.message))

    def free(self, record: Record) -> None:
        """Note that a record is in flight, or no longer needed."""
        if record in self._buffered:
            self._buffered.remove(record)
            self.consumer.free(client.size(record.message))

    def assigned(self, partitions: Sequence[int]) -> None:
        for number in partitions:
            self.partitions[number] = Offsets()

    def received(self, messages: Sequence[Message]) -> None:
        waiting = 0
        for message in messages:
            offsets = self.partitions.get(_partition(message))
            if offsets is None:
                self.consumer.free(client.size(message))
            else:
                first = offsets.committable is None
                offsets.begin(_offset(message))
                if first:  # where the group begins: else what retention has deleted before it would count as lag
                    self._advance(_partition(message), offsets)
                waiting += self._accept(message, offsets)
        if waiting < len(messages):
            self.consumer.make_room(len(messages) - waiting)
        self._pause(self._wide | {number for number, offsets in self.partitions.items() if offsets.width > MAX_WIDTH})
        self._intake.wake()

    async def revoked(self, partitions: Sequence[int]) -> dict[int, int]:
        held = {number: self.partitions[number] for number in partitions if number in self.partitions}
        self._intake.drop(held.values())
        await self._intake.drained(held.values())
        self._forget(partitions)
        return {number: offset for number, offsets in held.items() if (offset := offsets.committable) is not None}

    def lost(self, partitions: Sequence[int]) -> None:
        self._intake.drop([self.partitions[number] for number in partitions if number in self.partitions])
        self._forget(partitions)

    def reached(self, partition: int, offset: int) -> None:
        if (offsets := self.partitions.get(partition)) is not None:
            offsets.reached(offset)
            self._advance(partition, offsets)

    def committed(self, offsets: Mapping[int, int]) -> None:
        self._intake.committed(self.consumer.topic, offsets)

    def crashed(self, error: BaseException) -> None:
        self._intake.crashed(error)

    def _accept(self, message: Message, offsets: Offsets) -> bool:
        """Take in a record; False if it is not queued."""
        try:
            dedup_id, job = decode(message.value(), self._job_type)
        except UndecodableError as error:
            self._intake.skip(self._job_type, message, str(error), partial(self._skipped, message, offsets))
            return False
        place = Place(self.consumer.topic, _partition(message), _offset(message))
        event = dedup_id or f"{place.topic}/{place.partition}/{place.offset}/{job.id}"
        record = Record(self, offsets, message, place, event, job, self._intake.now())
        self._buffered.add(record)
        return self._intake.accept(record)

    def _skipped(self, message: Message, offsets: Offsets) -> None:
        self.consumer.free(client.size(message))
        offsets.done(_offset(message))
        self._advance(_partition(message), offsets)

    def _advance(self, partition: int, offsets: Offsets) -> None:
        if self.partitions.get(partition) is not offsets:
            return  # the partition was given up meanwhile
        if (offset := offsets.committable) is not None:
            self.consumer.commit(partition, offset)
        if partition in self._wide and offsets.width <= MAX_WIDTH // 2:
            self._pause(self._wide - {partition})

    def _pause(self, partitions: frozenset[int]) -> None:
        if partitions != self._wide:
            self._wide = partitions
            self.consumer.pause(partitions)

    def _forget(self, partitions: Sequence[int]) -> None:
        for number in partitions:
            self.partitions.pop(number, None)
        self._pause(self._wide - set(partitions))


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # noqa: S101 — a received record has one
    return offset


def _partition(message: Message) -> int:
    number = message.partition()
    assert number is not None  # noqa: S101 — a received record has one
    return number
