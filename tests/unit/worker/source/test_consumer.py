"""The consumer's thread against a client whose every answer is written down: no record it was given is left out."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from rochallor_worker.source import consumer as module
from rochallor_worker.source.brokers import Kafka
from rochallor_worker.source.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

    from confluent_kafka import Message


@dataclass(frozen=True)
class Record:
    """A record, which is no error."""

    number: int

    def error(self) -> None:
        return None


class Client:
    """Stands in for confluent_kafka.Consumer. `script` is what happens at each poll."""

    def __init__(self) -> None:
        self.script: deque[Callable[[], Record | None]] = deque()
        self.queue: deque[Record] = deque()
        self.meanwhile: list[Record] = []
        """Records that come while the brokers are asked in vain."""
        self.away = False
        self.given: list[int] = []
        self.stored: dict[int, int] = {}
        self.committed: dict[int, int] = {}
        self.refusals = 0
        self.paused: set[int] = set()
        self.done = threading.Event()

    def subscribe(self, _: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self.assign, self.revoke, self.lose = on_assign, on_revoke, on_lost

    def list_topics(self, topic: str, timeout: float) -> Any:
        if self.away:
            self.queue.extend(self.meanwhile)
            self.meanwhile = []
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        found = type("Topic", (), {"error": None})()
        return type("Metadata", (), {"topics": {topic: found}})()

    def poll(self, timeout: float) -> Record | None:
        if self.queue:
            return self._give()
        if self.script:
            return self.script.popleft()()
        self.done.set()
        return None

    def consume(self, count: int, timeout: float) -> list[Record]:
        return [self._give() for _ in range(min(count, len(self.queue)))]

    def _give(self) -> Record:
        self.given.append(self.queue[0].number)
        return self.queue.popleft()

    def store_offsets(self, offsets: Sequence[TopicPartition]) -> None:
        self.stored |= {one.partition: one.offset for one in offsets}

    def commit(self, asynchronous: bool) -> None:
        assert not asynchronous
        if self.refusals > 0:
            self.refusals -= 1
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
        if self.stored == self.committed:
            raise KafkaException(KafkaError(KafkaError._NO_OFFSET))
        self.committed |= self.stored

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused |= {one.partition for one in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused -= {one.partition for one in partitions}

    def get_watermark_offsets(self, _: TopicPartition, cached: bool) -> tuple[int, int]:
        assert cached
        return (0, 10)

    def close(self) -> None:
        self.revoke(self, [TopicPartition("t", 0)])


class Listener:
    """What the loop was told, in order."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.offsets: dict[int, int] = {}

    def assigned(self, partitions: Sequence[int]) -> None:
        self.told.append(("assigned", *partitions))

    def received(self, messages: Sequence[Message]) -> None:
        self.told += [record.number for record in cast("Sequence[Record]", messages)]

    async def revoked(self, partitions: Sequence[int]) -> dict[int, int]:
        self.told.append(("revoked", *partitions))
        return self.offsets

    def lost(self, partitions: Sequence[int]) -> None:
        self.told.append(("lost", *partitions))

    def crashed(self, error: BaseException) -> None:
        self.told.append(error)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr("rochallor_worker.source.client.make", lambda *_: made)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)  # looks at every turn
    monkeypatch.setattr(module, "PAUSE_AFTER", 0.01)
    return made


async def run(client: Client, listener: Listener, room: int = 100) -> Consumer:
    """Let the thread run through the script."""
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, room)
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    return consumer


def assigning(client: Client) -> Callable[[], None]:
    return lambda: client.assign(client, [TopicPartition("t", 0)])


async def test_records_that_come_while_the_brokers_are_away_are_not_left_out(client: Client) -> None:
    complaint = type("Complaint", (), {"error": lambda _: KafkaError(KafkaError._ALL_BROKERS_DOWN)})

    def goes_away() -> Any:
        client.away = True
        client.meanwhile = [Record(number) for number in range(5)]
        return complaint()

    def is_back() -> None:
        client.away = False

    listener = Listener()
    client.script.extend([assigning(client), goes_away, lambda: None, is_back, lambda: None])
    consumer = await run(client, listener)
    assert client.given == [0, 1, 2, 3, 4]
    assert listener.told == [("assigned", 0), 0, 1, 2, 3, 4, ("revoked", 0)]
    assert consumer.trouble is None


async def test_a_record_is_handed_on_before_its_partition_can_be_given_away(client: Client) -> None:
    def consume(count: int, timeout: float) -> list[Record]:
        client.revoke(client, [TopicPartition("t", 0)])
        raise KafkaException(KafkaError(KafkaError._FAIL))

    listener = Listener()
    client.consume = consume  # type: ignore[method-assign]
    client.script.extend([assigning(client), lambda: Record(7)])
    await run(client, listener)
    assert listener.told[:3] == [("assigned", 0), 7, ("revoked", 0)]


async def test_without_room_all_is_paused_and_goes_on_when_there_is_some(client: Client) -> None:
    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)
    seen = []

    def look() -> None:
        seen.append(set(client.paused))
        if len(seen) == 3:
            consumer.make_room(2)

    client.script.extend([assigning(client), lambda: Record(1), lambda: Record(2), *[look] * 6])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert seen == [{0}, {0}, {0}, set(), set(), set()]


async def test_what_is_done_is_stored_before_it_is_committed_at_a_revoke(client: Client) -> None:
    listener = Listener()
    listener.offsets = {0: 5}
    client.script.extend([assigning(client), lambda: Record(4)])
    await run(client, listener)
    assert client.stored == client.committed == {0: 5}


async def test_a_leaving_member_tries_again_while_partitions_move(
    client: Client, logged: list[MutableMapping[str, Any]]
) -> None:
    listener = Listener()
    listener.offsets = {0: 9}
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)
    client.refusals = 3
    client.script.extend([assigning(client), lambda: consumer.commit(0, 9)])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert client.committed == {0: 9}
    assert client.refusals == 0
    assert not any("offsets" in entry["event"] for entry in logged)  # at the revoke none was left to commit


async def test_a_client_that_has_given_up_ends_the_worker(client: Client) -> None:
    class FatalError(KafkaError):
        def fatal(self) -> bool:
            return True

    failing = type("Failing", (), {"error": lambda _: FatalError(KafkaError._FATAL)})
    listener = Listener()
    client.script.extend([assigning(client), failing])
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)
    consumer.start()
    await asyncio.to_thread(consumer._thread.join)  # it ends by itself
    await consumer.stop()
    [*_, crash] = listener.told
    assert isinstance(crash, RuntimeError)
    assert str(crash).startswith("the Kafka client has given up: ")
