"""The records of one topic: taken in, worked off, committed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from confluent_kafka import Message

from rochallor_worker.engine.base import ClaimedJob
from rochallor_worker.source.brokers import Kafka
from rochallor_worker.source.consumer import Consumer
from rochallor_worker.source.offsets import Offsets
from rochallor_worker.source.records import UndecodableError, decode

MAX_WIDTH = 5000
"""Records of a partition, from the lowest that is not done, above which no more of it are fetched: they all come again
if this process dies. Fetching goes on at half of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A job and the place it came from."""

    topic: "Topic"
    offsets: Offsets
    """Of its partition since it was assigned."""
    message: Message
    dedup_id: str
    job: ClaimedJob
    received_at: float


class Intake(Protocol):
    """What all topics share: the line in which records wait, and the jobs that run."""

    def now(self) -> float:
        """Return the time, in seconds, that `Delivery.claimed_at` is on."""
        ...

    def accept(self, record: Record) -> bool:
        """Take in a record; False if it need not wait in line."""
        ...

    def skip(self, job_type: str, message: Message, why: str, then: Callable[[], None]) -> None:
        """Put aside a record that is no job, then call `then`."""

    def wake(self) -> None:
        """Say that records may have come."""

    def drop(self, gone: Iterable[Offsets]) -> None:
        """Forget the waiting records of partitions that are no longer ours."""

    async def running_ended(self, gone: Iterable[Offsets]) -> None:
        """Wait for the jobs of these partitions that run, for as long as there is time."""

    def crashed(self, error: BaseException) -> None:
        """A consumer's thread has ended by an error."""


class Topic:
    """The topic of one job type: the `Listener` of its consumer."""

    def __init__(self, intake: Intake, kafka: Kafka, job_type: str, worker_id: str, room: int) -> None:
        self.partitions: dict[int, Offsets] = {}
        self.consumer = Consumer(kafka, job_type, worker_id, self, room)
        self._intake = intake
        self._job_type = job_type
        self._wide: frozenset[int] = frozenset()

    def lag(self, partition: int) -> int:
        """Records of a partition that are not worked off, as far as is known."""
        return self.consumer.left(partition, self.partitions[partition].committable)

    def holds(self, record: Record) -> bool:
        """Whether the partition of a record has been ours without a break since the record came."""
        return self.partitions.get(_partition(record.message)) is record.offsets

    def done(self, records: Sequence[Record]) -> None:
        """These are worked off: commit as far as can be."""
        for record in records:
            record.offsets.done(_offset(record.message))
        for record in records:
            self._advance(_partition(record.message), record.offsets)

    def assigned(self, partitions: Sequence[int]) -> None:
        for number in partitions:
            self.partitions[number] = Offsets()

    def received(self, messages: Sequence[Message]) -> None:
        waiting = 0
        for message in messages:
            offsets = self.partitions.get(_partition(message))
            if offsets is not None:
                offsets.begin(_offset(message))
                waiting += self._accept(message, offsets)
        if waiting < len(messages):
            self.consumer.make_room(len(messages) - waiting)
        self._hold(self._wide | {number for number, offsets in self.partitions.items() if offsets.width > MAX_WIDTH})
        self._intake.wake()

    async def revoked(self, partitions: Sequence[int]) -> dict[int, int]:
        held = {number: self.partitions[number] for number in partitions if number in self.partitions}
        self._intake.drop(held.values())
        await self._intake.running_ended(held.values())
        self._forget(partitions)
        return {number: offset for number, offsets in held.items() if (offset := offsets.committable) is not None}

    def lost(self, partitions: Sequence[int]) -> None:
        self._intake.drop([self.partitions[number] for number in partitions if number in self.partitions])
        self._forget(partitions)

    def crashed(self, error: BaseException) -> None:
        self._intake.crashed(error)

    def _accept(self, message: Message, offsets: Offsets) -> bool:
        """Take in a record; False if it does not wait in line."""
        try:
            dedup_id, job = decode(message.value(), self._job_type)
        except UndecodableError as error:
            self._intake.skip(self._job_type, message, str(error), partial(self._skipped, message, offsets))
            return False
        place = f"{message.topic()}/{message.partition()}/{message.offset()}"
        record = Record(self, offsets, message, dedup_id or place, job, self._intake.now())
        return self._intake.accept(record)

    def _skipped(self, message: Message, offsets: Offsets) -> None:
        offsets.done(_offset(message))
        self._advance(_partition(message), offsets)

    def _advance(self, partition: int, offsets: Offsets) -> None:
        if self.partitions.get(partition) is not offsets:
            return  # it was given up meanwhile
        if (offset := offsets.committable) is not None:
            self.consumer.commit(partition, offset)
        if partition in self._wide and offsets.width <= MAX_WIDTH // 2:
            self._hold(self._wide - {partition})

    def _hold(self, partitions: frozenset[int]) -> None:
        if partitions != self._wide:
            self._wide = partitions
            self.consumer.hold(partitions)

    def _forget(self, partitions: Sequence[int]) -> None:
        for number in partitions:
            self.partitions.pop(number, None)
        self._hold(self._wide - set(partitions))


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # noqa: S101 — a received record has one
    return offset


def _partition(message: Message) -> int:
    number = message.partition()
    assert number is not None  # noqa: S101 — a received record has one
    return number
