"""The consumer's thread against a client whose every answer is written down: no record it was given is left out."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from rochallor_worker.source import commits
from rochallor_worker.source import consumer as module
from rochallor_worker.source.base import Trouble
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
        self.commits: list[dict[int, int]] = []
        """What the brokers have taken, in order."""
        self.refusals: deque[int] = deque()
        """The errors by which they refuse the next commits."""
        self.on_commit: Callable[[KafkaError | None, Any], None]
        self.answers: deque[KafkaError | None] = deque()
        self.group: dict[int, int] = {}
        self.high = 10
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
        while self.answers:
            self.on_commit(self.answers.popleft(), [])
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

    def commit(self, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        refusal = KafkaError(self.refusals.popleft()) if self.refusals else None
        if refusal is None:
            self.commits.append({one.partition: one.offset for one in offsets})
        if asynchronous:
            self.answers.append(refusal)
        elif refusal is not None:
            raise KafkaException(refusal)

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(one.topic, one.partition, self.group.get(one.partition, -1001)) for one in partitions]

    def offsets_for_times(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        where = {OFFSET_BEGINNING: 3, OFFSET_END: self.high}
        return [TopicPartition(one.topic, one.partition, where[one.offset]) for one in partitions]

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

    def make(*values: Any) -> Client:
        made.on_commit = values[-1]["on_commit"]
        return made

    monkeypatch.setattr("rochallor_worker.source.client.make", make)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)  # looks at every turn
    monkeypatch.setattr(module, "PAUSE_AFTER", 0.01)
    monkeypatch.setattr(commits, "COMMIT_SECONDS", 0.0)  # commits at every turn
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


@pytest.mark.parametrize("how", ["revoke", "lose"])
async def test_a_partition_that_comes_back_is_not_paused_still(client: Client, how: str) -> None:
    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 0)
    seen: list[set[int]] = []

    def look() -> None:
        seen.append(set(client.paused))

    def go() -> None:
        getattr(client, how)(client, [TopicPartition("t", 0)])

    client.script.extend([assigning(client), lambda: None, look, go, look])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert seen == [{0}, set()]


async def test_what_is_done_is_committed_at_a_revoke_unless_it_is_already(client: Client) -> None:
    listener = Listener()
    listener.offsets = {0: 5}
    client.script.extend([assigning(client), lambda: Record(4)])
    await run(client, listener)
    assert client.commits == [{0: 5}]


async def test_what_the_brokers_refuse_is_committed_again_and_offsets_may_fall(
    client: Client, logged: list[MutableMapping[str, Any]]
) -> None:
    listener = Listener()
    listener.offsets = {0: 2}
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)

    def done(offset: int) -> Callable[[], None]:
        return lambda: consumer.commit(0, offset)

    client.refusals.extend([KafkaError.UNKNOWN_TOPIC_OR_PART] * 2)
    # the topic is deleted and made anew
    client.script.extend([assigning(client), done(9), *[lambda: None] * 3, done(2), *[lambda: None] * 2])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert client.commits == [{0: 9}, {0: 2}]
    assert [entry["event"] for entry in logged].count("offsets are not committed yet") == 1


@pytest.mark.parametrize("offsets", [{0: 9}, {}])
async def test_a_leaving_member_tries_again_while_partitions_move(
    client: Client, logged: list[MutableMapping[str, Any]], offsets: dict[int, int]
) -> None:
    listener = Listener()
    listener.offsets = offsets
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)
    client.refusals.extend([KafkaError.ILLEGAL_GENERATION] * 3)
    client.script.extend([assigning(client), lambda: consumer.commit(0, 9)])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert client.commits == [{0: 9}]
    assert not any("jobs will run again" in entry["event"] for entry in logged)


async def test_a_revoked_partition_is_committed_however_often_it_takes(client: Client) -> None:
    listener = Listener()
    listener.offsets = {0: 5}
    client.refusals.extend([KafkaError.NOT_COORDINATOR] * 2)
    client.script.extend([assigning(client), lambda: client.revoke(client, [TopicPartition("t", 0)])])
    await run(client, listener)
    assert client.commits[0] == {0: 5}


async def after_doubt(client: Client, consumer: Consumer, listener: Listener, *script: Any) -> list[bool]:
    """Doubt once partitions are assigned; return, for each step of the script, whether the doubt remained."""
    doubtful: list[bool] = []
    loop = asyncio.get_running_loop()

    def seen(step: Callable[[], None]) -> Callable[[], None]:
        def play() -> None:
            async def look() -> None:
                doubtful.append(consumer.doubtful)

            asyncio.run_coroutine_threadsafe(look(), loop).result()  # after all that the loop was told before
            step()

        return play

    client.script.extend([assigning(client), lambda: None, consumer.doubt, *map(seen, script), seen(lambda: None)])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    return doubtful


@pytest.mark.parametrize(("committed", "asked"), [({}, 3), ({0: 7}, 7)])
async def test_after_a_standstill_the_brokers_are_asked_by_a_commit_that_changes_nothing(
    client: Client, committed: dict[int, int], asked: int
) -> None:
    listener = Listener()
    client.group = committed
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)
    # in doubt until a member's commit is answered, whatever else it has to wait for
    client.refusals.extend([KafkaError.REBALANCE_IN_PROGRESS])
    doubtful = await after_doubt(client, consumer, listener, lambda: None, lambda: None)
    assert doubtful == [True, False, False]
    assert client.commits == [{0: asked}]


async def test_a_commit_from_before_the_standstill_says_nothing(client: Client) -> None:
    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)

    client.script.extend([assigning(client), lambda: consumer.commit(0, 4)])
    seen: list[bool] = []
    send = client.commit

    def commit(offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        send(offsets, asynchronous)
        if offsets[0].offset == 4:  # the process stands still while the answer is on its way
            consumer.doubt()
        elif asynchronous:
            seen.append(consumer.doubtful)

    client.commit = commit  # type: ignore[method-assign]
    client.script.extend([lambda: None] * 3)
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert client.commits[:2] == [{0: 4}, {0: 4}]
    assert seen == []


async def test_a_member_that_was_given_up_is_in_doubt_until_it_has_lost_its_partitions(client: Client) -> None:
    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)
    client.refusals.extend([KafkaError.UNKNOWN_MEMBER_ID] * 2)

    def lose() -> None:
        client.lose(client, [TopicPartition("t", 0)])

    assert await after_doubt(client, consumer, listener, lambda: None, lose, lambda: None) == [True, True, False, False]
    assert listener.told[:2] == [("assigned", 0), ("lost", 0)]


async def test_what_comes_in_place_of_records_is_trouble_until_they_come(client: Client) -> None:
    def instead(code: int) -> Any:
        return type("Instead", (), {"error": lambda _: KafkaError(code, "no right")})

    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 9)
    seen: list[Any] = []

    def look() -> None:
        seen.append(consumer.trouble)

    denied, end = instead(KafkaError.TOPIC_AUTHORIZATION_FAILED), instead(KafkaError._PARTITION_EOF)
    client.script.extend([instead(KafkaError.GROUP_AUTHORIZATION_FAILED), look, assigning(client), look])
    client.script.extend([denied, look, look, lambda: Record(1), look, denied, look, end, look])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    unreadable = Trouble("KafkaUnreachable", "topic 'workflow.jobs.a' cannot be read: no right")
    group = Trouble("KafkaUnreachable", "cannot join the group of 'workflow.jobs.a': no right")
    assert seen == [group, None, unreadable, unreadable, None, unreadable, None]


@pytest.mark.parametrize(("committed", "begun", "lag"), [({}, None, 7), ({0: 6}, None, 4), ({}, 8, 2)])
async def test_the_lag_of_a_paused_partition_is_asked_for(
    client: Client, committed: dict[int, int], begun: int | None, lag: int
) -> None:
    listener = Listener()
    client.group = committed
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 0)
    seen: list[int] = []
    client.script.extend([assigning(client), *[lambda: None] * 3, lambda: seen.append(consumer.left(0, begun))])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert seen == [lag]


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
