"""The consumer's thread against a client with scripted answers: no record it was given is left out."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from rochallor_worker.source.base import Problem
from rochallor_worker.source.kafka import commits
from rochallor_worker.source.kafka import consumer as module
from rochallor_worker.source.kafka.connection import Kafka, NewTopics
from rochallor_worker.source.kafka.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence

    from confluent_kafka import Message


@dataclass(frozen=True)
class Record:
    """A record, or an error in place of one."""

    number: int | None
    instead: KafkaError | None = None
    size: int = 0

    def error(self) -> KafkaError | None:
        return self.instead

    def partition(self) -> int:
        return 0

    def offset(self) -> int | None:
        return self.number

    def value(self) -> bytes:
        return bytes(self.size)

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None


def end(offset: int) -> Record:
    """What the client returns at the end of a partition."""
    return Record(offset, KafkaError(KafkaError._PARTITION_EOF))


class Client:
    """Stands in for confluent_kafka.Consumer. `script` is what happens in each poll."""

    def __init__(self) -> None:
        self.script: deque[Callable[[], Record | None]] = deque()
        self.queue: deque[Record] = deque()
        self.meanwhile: list[Record] = []
        """Records that come while the brokers do not answer."""
        self.away = False
        self.given: list[int | None] = []
        self.commits: list[dict[int, int]] = []
        """What the brokers have accepted, in order."""
        self.refusals: deque[int] = deque()
        """The errors with which they refuse the next commits."""
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
    """What was reported to the loop, in order."""

    def __init__(self) -> None:
        self.reported: list[object] = []
        self.offsets: dict[int, int] = {}
        self.committed_offsets: list[dict[int, int]] = []
        """The offsets that were reported as committed."""

    def assigned(self, partitions: Sequence[int]) -> None:
        self.reported.append(("assigned", *partitions))

    def received(self, messages: Sequence[Message]) -> None:
        self.reported += [record.number for record in cast("Sequence[Record]", messages)]

    def reached(self, partition: int, offset: int) -> None:
        self.reported.append(("reached", partition, offset))

    async def revoked(self, partitions: Sequence[int]) -> dict[int, int]:
        self.reported.append(("revoked", *partitions))
        return self.offsets

    def committed(self, offsets: Mapping[int, int]) -> None:
        self.committed_offsets.append(dict(offsets))

    def lost(self, partitions: Sequence[int]) -> None:
        self.reported.append(("lost", *partitions))

    def crashed(self, error: BaseException) -> None:
        self.reported.append(error)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()

    def make(*values: Any) -> Client:
        made.on_commit = values[-1]["on_commit"]
        return made

    monkeypatch.setattr("rochallor_worker.source.kafka.client.make", make)
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.0)  # checks after every poll
    monkeypatch.setattr(module, "PAUSE_AFTER", 0.01)
    monkeypatch.setattr(commits, "COMMIT_SECONDS", 0.0)  # commits before every poll
    return made


async def run(client: Client, listener: Listener, room: int = 100, **options: Any) -> Consumer:
    """Let the thread run through the script."""
    consumer = Consumer(Kafka("broker:9092", **options), "a", "w", listener, room)
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    return consumer


def assigning(client: Client) -> Callable[[], None]:
    return lambda: client.assign(client, [TopicPartition("t", 0)])


async def test_records_that_come_during_an_outage_of_the_brokers_are_not_left_out(client: Client) -> None:
    def goes_away() -> Any:
        client.away = True
        client.meanwhile = [Record(number) for number in range(5)]
        return Record(None, KafkaError(KafkaError._ALL_BROKERS_DOWN))

    def is_back() -> None:
        client.away = False

    listener = Listener()
    client.script.extend([assigning(client), goes_away, lambda: None, is_back, lambda: None])
    consumer = await run(client, listener)
    assert client.given == [0, 1, 2, 3, 4]
    assert listener.reported == [("assigned", 0), 0, 1, 2, 3, 4, ("revoked", 0)]
    assert consumer.problem is None


async def test_a_record_is_handed_over_before_its_partition_can_be_revoked(client: Client) -> None:
    def consume(count: int, timeout: float) -> list[Record]:
        client.revoke(client, [TopicPartition("t", 0)])
        raise KafkaException(KafkaError(KafkaError._FAIL))

    listener = Listener()
    client.consume = consume  # type: ignore[method-assign]
    client.script.extend([assigning(client), lambda: Record(7)])
    await run(client, listener)
    assert listener.reported[:3] == [("assigned", 0), 7, ("revoked", 0)]


async def test_without_room_everything_is_paused_until_there_is_some(client: Client) -> None:
    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)
    seen = []

    def check() -> None:
        seen.append(set(client.paused))
        if len(seen) == 3:
            consumer.make_room(2)

    client.script.extend([assigning(client), lambda: Record(1), lambda: Record(2), *[check] * 6])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert seen == [{0}, {0}, {0}, set(), set(), set()]


async def test_an_end_is_reported_where_no_record_leads_to_it(client: Client) -> None:
    """An empty partition begins at its end; retention may delete records, and not all offsets are records."""

    def lose() -> None:
        client.lose(client, [TopicPartition("t", 0)])

    listener = Listener()
    steps = [Record(900), end(901), end(903), end(903), Record(903), end(904)]
    client.script.extend([assigning(client), lambda: end(900), *[lambda step=step: step for step in steps]])
    client.script.extend([lose, assigning(client), lambda: end(904)])
    await run(client, listener)
    expected: list[object] = [("reached", 0, 900), 900, ("reached", 0, 903), 903, ("lost", 0), ("assigned", 0)]
    assert listener.reported[1:8] == [*expected, ("reached", 0, 904)]


async def test_large_records_fill_the_room_however_few_they_are(client: Client) -> None:
    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 10_000)

    def fetch() -> Record | None:
        return None if client.paused else Record(1, size=900_000)

    client.script.extend([assigning(client), *[fetch] * 30, lambda: consumer.free(2 * 901_024), *[fetch] * 10])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert len([each for each in listener.reported if isinstance(each, int)]) == 19 + 2, "16 MiB, and 2 that were freed"


@pytest.mark.parametrize("how", ["revoke", "lose"])
async def test_a_partition_that_is_assigned_again_is_not_still_paused(client: Client, how: str) -> None:
    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 0)
    seen: list[set[int]] = []

    def check() -> None:
        seen.append(set(client.paused))

    def go() -> None:
        getattr(client, how)(client, [TopicPartition("t", 0)])

    client.script.extend([assigning(client), lambda: None, check, go, check])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert seen == [{0}, set()]


async def test_done_offsets_are_committed_at_a_revoke_unless_they_are_already(client: Client) -> None:
    listener = Listener()
    listener.offsets = {0: 5}
    client.script.extend([assigning(client), lambda: Record(4)])
    await run(client, listener)
    assert client.commits == listener.committed_offsets == [{0: 5}]


async def test_a_refused_commit_is_sent_again_and_offsets_may_fall(
    client: Client, logged: list[MutableMapping[str, Any]]
) -> None:
    listener = Listener()
    listener.offsets = {0: 2}
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)

    def done(offset: int) -> Callable[[], None]:
        return lambda: consumer.commit(0, offset)

    client.refusals.extend([KafkaError.UNKNOWN_TOPIC_OR_PART] * 2)
    # the topic is recreated
    client.script.extend([assigning(client), done(9), *[lambda: None] * 3, done(2), *[lambda: None] * 2])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert client.commits == listener.committed_offsets == [{0: 9}, {0: 2}]
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
    assert client.commits == listener.committed_offsets == [{0: 9}]
    assert not any("jobs will run again" in entry["event"] for entry in logged)


async def test_the_commit_of_a_revoked_partition_is_retried_until_accepted(client: Client) -> None:
    listener = Listener()
    listener.offsets = {0: 5}
    client.refusals.extend([KafkaError.NOT_COORDINATOR] * 2)
    client.script.extend([assigning(client), lambda: client.revoke(client, [TopicPartition("t", 0)])])
    await run(client, listener)
    assert client.commits[0] == {0: 5}


async def after_a_stall(client: Client, consumer: Consumer, listener: Listener, *script: Any) -> list[bool]:
    """Verify the ownership once partitions are assigned; return whether it was, before each step and at the end."""
    verified: list[bool] = []
    loop = asyncio.get_running_loop()

    def seen(step: Callable[[], None]) -> Callable[[], None]:
        def play() -> None:
            async def check() -> None:
                verified.append(consumer.ownership_verified)

            asyncio.run_coroutine_threadsafe(check(), loop).result()  # after everything that was reported before
            step()

        return play

    client.script.extend(
        [assigning(client), lambda: None, consumer.verify_ownership, *map(seen, script), seen(lambda: None)]
    )
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    return verified


@pytest.mark.parametrize(("committed", "asked"), [({}, 3), ({0: 7}, 7)])
async def test_after_a_stall_the_ownership_is_verified_by_a_commit_that_changes_nothing(
    client: Client, committed: dict[int, int], asked: int
) -> None:
    listener = Listener()
    client.group = committed
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)
    # not verified until a member's commit is answered, whatever else it has to wait for
    client.refusals.extend([KafkaError.REBALANCE_IN_PROGRESS])
    verified = await after_a_stall(client, consumer, listener, lambda: None, lambda: None)
    assert verified == [False, True, True]
    assert client.commits == [{0: asked}]


async def test_a_commit_from_before_the_stall_verifies_nothing(client: Client) -> None:
    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)

    client.script.extend([assigning(client), lambda: consumer.commit(0, 4)])
    seen: list[bool] = []
    send = client.commit

    def commit(offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        send(offsets, asynchronous)
        if offsets[0].offset == 4:  # the process is stalled while the answer is on its way
            consumer.verify_ownership()
        elif asynchronous:
            seen.append(not consumer.ownership_verified)

    client.commit = commit  # type: ignore[method-assign]
    client.script.extend([lambda: None] * 3)
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert client.commits[:2] == [{0: 4}, {0: 4}]
    assert seen == []


async def test_the_ownership_of_an_expelled_member_is_not_verified_until_it_has_lost_its_partitions(
    client: Client,
) -> None:
    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 2)
    client.refusals.extend([KafkaError.UNKNOWN_MEMBER_ID] * 2)

    def lose() -> None:
        client.lose(client, [TopicPartition("t", 0)])

    assert await after_a_stall(client, consumer, listener, lambda: None, lose, lambda: None) == [
        False,
        False,
        True,
        True,
    ]
    assert listener.reported[:2] == [("assigned", 0), ("lost", 0)]


async def test_an_error_in_place_of_records_is_a_problem_until_they_come(client: Client) -> None:
    def instead(code: int) -> Callable[[], Record]:
        return lambda: Record(None, KafkaError(code, "no right"))

    listener = Listener()
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 9)
    seen: list[Any] = []

    def check() -> None:
        seen.append(consumer.problem)

    denied = instead(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    client.script.extend([instead(KafkaError.GROUP_AUTHORIZATION_FAILED), check, assigning(client), check])
    client.script.extend([denied, check, check, lambda: Record(1), check, denied, check, lambda: end(2), check])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    unreadable = Problem("KafkaUnreachable", "topic 'workflow.jobs.a' cannot be read: no right")
    group = Problem("KafkaUnreachable", "cannot join the group of 'workflow.jobs.a': no right")
    assert seen == [group, None, unreadable, unreadable, None, unreadable, None]


@pytest.mark.parametrize(("committed", "position", "lag"), [({}, None, 7), ({0: 6}, None, 4), ({}, 8, 2)])
async def test_the_brokers_are_asked_for_the_lag_of_a_paused_partition(
    client: Client, committed: dict[int, int], position: int | None, lag: int
) -> None:
    listener = Listener()
    client.group = committed
    consumer = Consumer(Kafka("broker:9092"), "a", "w", listener, 0)
    seen: list[int] = []
    client.script.extend([assigning(client), *[lambda: None] * 3, lambda: seen.append(consumer.lag(0, position))])
    consumer.start()
    await asyncio.to_thread(client.done.wait)
    await consumer.stop()
    assert seen == [lag]


async def test_topics_that_are_missing_are_created_and_those_that_cannot_be_are_named(
    client: Client, monkeypatch: pytest.MonkeyPatch, logged: list[MutableMapping[str, Any]]
) -> None:
    """The topic itself exists: it is consumed all the same."""
    answers = deque(["'workflow.jobs.a.dlq' cannot be created: denied"] * 2)
    monkeypatch.setattr(module, "create_missing", lambda *_: answers.popleft())
    client.script.append(assigning(client))
    client.queue.append(Record(0))
    listener = Listener()
    await run(client, listener, create_topics=NewTopics(1, 1), dead_letter=True)
    assert 0 in listener.reported
    [line] = [line for line in logged if line["event"] == "going on without a topic for dead letters"]
    assert line["error"] == "'workflow.jobs.a.dlq' cannot be created: denied"
    assert not answers


async def test_topics_that_others_have_created_meanwhile_are_no_reason_for_a_warning(
    client: Client, monkeypatch: pytest.MonkeyPatch, logged: list[MutableMapping[str, Any]]
) -> None:
    answers = deque(["Failed to get metadata: timed out", ""])
    monkeypatch.setattr(module, "create_missing", lambda *_: answers.popleft())
    await run(client, Listener(), create_topics=NewTopics(1, 1))
    assert not answers
    assert not [line for line in logged if line["event"].startswith("going on")]


async def test_a_fatal_error_of_the_client_ends_the_worker(client: Client) -> None:
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
    [*_, crash] = listener.reported
    assert isinstance(crash, RuntimeError)
    assert str(crash).startswith("the Kafka client has given up: ")
