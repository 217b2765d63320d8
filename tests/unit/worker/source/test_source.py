"""The guarantees of the Kafka source, against any interleaving of records, ends, revokes and losses.

A model of the brokers drives it: what is committed decides what is redelivered. Nothing is ever committed past a job
whose outcome was not accepted, the jobs of an instance run one after another, and in the end everything is committed.
With a journal, no record that was done is processed again, though the process may be killed before it is committed.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rochallor_worker.engine._pb.workflow.v1.dispatch_pb2 import JobDispatchEvent
from rochallor_worker.events import Duplicate, Event, Skipped
from rochallor_worker.execution.gates import Gate, Permit
from rochallor_worker.execution.in_flight import Place
from rochallor_worker.execution.journal import Journal
from rochallor_worker.execution.parking import Parking
from rochallor_worker.execution.slots import Slots
from rochallor_worker.handlers.breaker import Breaker
from rochallor_worker.handlers.limits import Limits
from rochallor_worker.source.base import Delivery
from rochallor_worker.source.kafka import client, topic
from rochallor_worker.source.kafka.connection import Kafka
from rochallor_worker.source.kafka.source import KafkaSource
from unit.worker.engines import gates_of, loop_time, unused
from unit.worker.killable import KillableJournal

if TYPE_CHECKING:
    from rochallor_worker.execution import settled

PARTITIONS = 3
ROOM = 8


@dataclass
class Message:
    """A record as the client returns it."""

    number: int
    place: int
    content: bytes

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.place

    def value(self) -> bytes:
        return self.content

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None

    def topic(self) -> str:
        return "workflow.jobs.a"


@dataclass
class Broker:
    """The partitions of a topic, what is committed of each, and which jobs the engine has accepted."""

    log: list[list[Message]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    committed: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    job_type: str = "a"
    accepted: set[str] = field(default_factory=set)

    def publish(self, partition: int, instance: str, dedup_id: str) -> None:
        event = JobDispatchEvent(
            job_id=f"job {dedup_id}", instance_id=instance, job_type=self.job_type, dedup_id=dedup_id
        )
        self._append(partition, event.SerializeToString())

    def publish_rubbish(self, partition: int) -> None:
        self._append(partition, b"\xff")

    def _append(self, partition: int, content: bytes) -> None:
        self.log[partition].append(Message(partition, len(self.log[partition]), content))

    def commit(self, partition: int, offset: int) -> None:
        for message in self.log[partition][:offset]:
            if message.content != b"\xff":
                job_id = JobDispatchEvent.FromString(message.content).job_id
                assert job_id in self.accepted, "committed past a job that was not accepted"
        self.committed[partition] = max(self.committed[partition], offset)


class Consumer:
    """Stands in for the client: the test drives it. If it is `lazy`, the test also decides when commits arrive."""

    latest: "Consumer"
    broker: Broker

    def __init__(self, _kafka: Kafka, job_type: str, _client_id: str, listener: topic.Topic, room: int) -> None:
        self.topic = f"workflow.jobs.{job_type}"
        self.problem = None
        self.stuck = False
        self.paused: frozenset[int] = frozenset()
        self.ownership_verified = True
        self.listener = listener
        self.room = room
        self.held = 0
        """Bytes."""
        self.lazy = False
        self.positions: dict[int, int] = {}
        self.waiting: dict[int, int] = {}
        self.taken: dict[int, int] = {}
        Consumer.latest = self

    def start(self) -> None:
        pass

    def make_room(self, count: int) -> None:
        self.room += count
        assert self.room <= ROOM

    def free(self, size: int) -> None:
        self.held -= size
        assert self.held >= 0

    def commit(self, partition: int, offset: int) -> None:
        assert partition in self.positions
        self.waiting[partition] = offset
        if not self.lazy:
            self.send()
            self.answer()

    def send(self) -> None:
        for partition, offset in self.waiting.items():
            self.broker.commit(partition, offset)
        self.taken, self.waiting = self.taken | self.waiting, {}

    def answer(self) -> None:
        self.listener.committed(self.taken)
        self.taken = {}

    def verify_ownership(self) -> None:
        self.ownership_verified = False

    def pause(self, partitions: frozenset[int]) -> None:
        self.paused = partitions

    async def stop(self) -> None:
        await self.revoke(list(self.positions))

    def assign(self, partition: int) -> None:
        if partition not in self.positions:
            self.positions[partition] = self.broker.committed[partition]
            self.listener.assigned([partition])

    def fetch(self, partition: int, count: int) -> None:
        if partition in self.positions and partition not in self.paused:
            start = self.positions[partition]
            found = self.broker.log[partition][start : start + min(count, self.room)]
            self.positions[partition] += len(found)
            self.room -= len(found)
            self.held += sum(map(client.size, found))  # type: ignore[arg-type]
            self.listener.received(found)  # type: ignore[arg-type]

    async def revoke(self, partitions: Sequence[int]) -> None:
        mine = [number for number in partitions if number in self.positions]
        offsets = await self.listener.revoked(mine)
        for number in mine:
            del self.positions[number]
            self.waiting.pop(number, None)
        for number, offset in offsets.items():
            self.broker.commit(number, offset)
        self.listener.committed(offsets)

    def lose(self, partition: int) -> None:
        self.waiting.pop(partition, None)
        if self.positions.pop(partition, None) is not None:
            self.listener.lost([partition])


class Worker:
    """A source and the jobs that it started."""

    def __init__(
        self,
        broker: Broker,
        events: list[Event],
        clock: Callable[[], float] = loop_time,
        journal: Journal | None = None,
        dedup_window: float = 600,
    ) -> None:
        Consumer.broker = broker
        self.broker = broker
        self.source = KafkaSource(
            Kafka("broker:9092", dedup_window=dedup_window),
            "w",
            gates_of("a"),
            parallelism=ROOM // 2,
            drain_timeout=20,
            journal=Journal() if journal is None else journal,
            observer=events.append,
            clock=clock,
            random=Random(0),
        )
        self.consumer = Consumer.latest
        self.running: list[Delivery] = []
        self.rebalances: set[asyncio.Task[None]] = set()

    async def take(self, count: int) -> None:
        started = await self.source.take(count, unused)
        for delivery in started:
            record: topic.Record = cast("Any", delivery.settle).args[0]
            assert record.message.partition() in self.consumer.positions, "started a job of a partition given up"
        self.running += started
        instances = [delivery.job.instance_id for delivery in self.running]
        assert len(instances) == len(set(instances)), "two jobs of an instance at once"

    def end(self, choose: Callable[[Sequence[Delivery]], Delivery], *, failed: bool = False) -> None:
        """A job ends; if it failed and is no longer ours, nothing is reported."""
        if self.running:
            delivery = choose(self.running)
            self.running.remove(delivery)
            record: topic.Record = cast("Any", delivery.settle).args[0]
            if failed and not record.topic.owns(record):
                delivery.settle("abandoned")
                return
            self.broker.accepted.add(delivery.job.id)
            delivery.settle("accepted")

    def start(self, rebalance: Coroutine[Any, Any, None]) -> None:
        self.rebalances.add(asyncio.create_task(rebalance))

    async def finish(self) -> None:
        self.consumer.lazy = False
        while any(not task.done() for task in self.rebalances) or self.running:
            if self.running:
                self.end(lambda running: running[0])
            await asyncio.sleep(1)
        await asyncio.gather(*self.rebalances)
        for partition in range(PARTITIONS):
            self.consumer.assign(partition)
        while True:
            for partition in range(PARTITIONS):
                self.consumer.fetch(partition, ROOM)
            await self.take(100)
            if not self.running:
                break
            while self.running:
                self.end(lambda running: running[0])


@pytest.fixture(autouse=True)
def _no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "Consumer", Consumer)


class Story:
    """What happens, step by step; `random` chooses the partitions and jobs."""

    def __init__(self, random: Random, folder: Path | None, dedup_window: float) -> None:
        self.random = random
        self.broker = Broker()
        self.events: list[Event] = []
        self._folder = folder
        self._dedup_window = dedup_window
        self._published: list[tuple[int, str, str]] = []
        self._start()

    def _start(self) -> None:
        self.journal = KillableJournal(self._folder)
        self.worker = Worker(self.broker, self.events, loop_time, self.journal, self._dedup_window)
        self.worker.consumer.lazy = True

    async def publish(self) -> None:
        instance = self.random.choice("xyz")
        self._published.append((ord(instance) % PARTITIONS, instance, str(len(self._published))))
        self.broker.publish(*self._published[-1])

    async def repeat(self) -> None:
        """The relay publishes an event again; on another partition, if some were added."""
        if self._published:
            partition, instance, dedup_id = self.random.choice(self._published)
            self.broker.publish(self.random.choice([partition, self._partition()]), instance, dedup_id)

    async def rubbish(self) -> None:
        self.broker.publish_rubbish(self._partition())

    async def assign(self) -> None:
        self.worker.consumer.assign(self._partition())

    async def fetch(self) -> None:
        if not self.worker.rebalances:  # the client's thread waits in a rebalance
            self.worker.consumer.fetch(self._partition(), self.random.randrange(1, ROOM))

    async def take(self) -> None:
        await self.worker.take(self.random.randrange(1, 4))

    async def end(self) -> None:
        self.worker.end(self.random.choice, failed=self.random.random() < 0.5)

    async def revoke(self) -> None:
        if not self.worker.rebalances:
            self.worker.start(self.worker.consumer.revoke([self._partition()]))
        await asyncio.sleep(self.random.choice([0, 1, 60]))
        self.worker.rebalances = {task for task in self.worker.rebalances if not task.done()}

    async def lose(self) -> None:
        if not self.worker.rebalances:
            self.worker.consumer.lose(self._partition())

    async def commit(self) -> None:
        self.worker.consumer.send()

    async def answer(self) -> None:
        self.worker.consumer.answer()

    async def crash(self) -> None:
        for task in self.worker.rebalances:
            task.cancel()
        self.journal.kill()
        self._start()

    def _partition(self) -> int:
        return self.random.randrange(PARTITIONS)


OFTEN = [Story.publish, Story.repeat, Story.assign, Story.fetch, Story.take, Story.end]
SELDOM = [Story.rubbish, Story.commit, Story.answer, Story.revoke, Story.revoke, Story.lose, Story.crash]
STEPS = st.lists(
    st.sampled_from([*OFTEN * 3, *SELDOM]),
    min_size=60,  # by default, hypothesis makes stories that are too short
    max_size=200,
)


@pytest.mark.looptime
@settings(max_examples=300)
@given(steps=STEPS, seed=st.integers(0, 2**32), journal=st.booleans(), dedup_window=st.sampled_from([0.0, 600.0]))
async def test_whatever_happens_no_job_is_lost_and_everything_is_committed_in_the_end(
    steps: list[Callable[[Story], Coroutine[Any, Any, None]]],
    seed: int,
    journal: bool,
    dedup_window: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    story = Story(Random(seed), tmp_path_factory.mktemp("journal") if journal else None, dedup_window)
    done: set[settled.Place] = set()

    def done_with(one: topic.Topic, records: Sequence[topic.Record]) -> None:
        done.update(record.place for record in records)
        really_done(one, records)

    async def take(worker: Worker, count: int) -> None:
        before = len(worker.running)
        await really_take(worker, count)
        for delivery in worker.running[before:]:
            assert not journal or cast("Any", delivery.settle).args[0].place not in done, "processed twice"

    really_done, really_take = topic.Topic.done, Worker.take
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topic.Topic, "done", done_with)
        patch.setattr(Worker, "take", take)
        for step in steps:
            await step(story)
        for partition in range(PARTITIONS):
            story.broker.publish(partition, "last", f"last {partition}")
        await story.worker.finish()
        assert story.broker.committed == [len(log) for log in story.broker.log]
        assert story.worker.consumer.held == 0, "freed less than was fetched"
        await story.worker.source.aclose()
    if journal:
        assert len(story.journal._settled) == 0, "more is remembered than may be redelivered"
        story.journal.kill()


async def test_a_repeat_is_not_run_and_counts_once() -> None:
    broker, events = Broker(), list[Event]()
    worker = Worker(broker, events)
    for _ in range(3):
        broker.publish(0, "x", "d")
    worker.consumer.assign(0)
    worker.consumer.fetch(0, 2)
    await worker.take(10)
    [delivery] = worker.running
    assert delivery.lease is None
    assert broker.committed[0] == 0
    worker.end(lambda running: running[0])
    assert broker.committed[0] == 2
    worker.consumer.fetch(0, 1)
    await worker.take(10)
    assert worker.running == []
    assert broker.committed[0] == 3
    assert events == [Duplicate("a"), Duplicate("a")]


async def test_where_a_group_begins_is_committed_at_once() -> None:
    """What was deleted before it would count as lag until the first job is done (keda#7936)."""
    broker = Broker()
    worker = Worker(broker, [])
    broker.publish_rubbish(0)
    broker.publish_rubbish(0)
    broker.publish(0, "x", "d")
    worker.consumer.assign(0)
    worker.consumer.positions[0] = 2  # the lowest offset there is
    worker.consumer.fetch(0, 1)
    await worker.take(1)
    assert broker.committed[0] == 2
    worker.consumer.listener.reached(0, 5)
    assert broker.committed[0] == 2
    worker.end(lambda running: running[0])
    assert broker.committed[0] == 5


@pytest.mark.looptime
async def test_a_repeat_takes_the_place_of_a_record_that_was_abandoned() -> None:
    broker, events = Broker(), list[Event]()
    worker = Worker(broker, events)
    for partition in range(2):
        broker.publish(partition, "x", "d")
        worker.consumer.assign(partition)
        worker.consumer.fetch(partition, 1)
    await worker.take(10)
    [first] = worker.running
    worker.consumer.lose(0)
    worker.running.remove(first)
    first.settle("abandoned")
    await worker.take(10)
    [repeat] = worker.running
    assert repeat.job.id == first.job.id
    worker.end(lambda running: running[0])
    assert broker.committed[1] == 1


async def test_what_is_not_a_job_is_skipped_and_logged(logged: list[dict[str, object]]) -> None:
    broker, events = Broker(), list[Event]()
    worker = Worker(broker, events)
    broker.publish_rubbish(0)
    broker.publish(0, "x", "d")
    worker.consumer.assign(0)
    worker.consumer.fetch(0, 2)
    await worker.take(10)
    assert [delivery.job.instance_id for delivery in worker.running] == ["x"]
    assert broker.committed[0] == 1
    assert events == [Skipped("a")]
    [line] = logged
    assert (line["log_level"], line["offset"], line["reason"]) == ("error", 0, "the value is not a JobDispatchEvent")


@pytest.mark.looptime
async def test_a_revoke_waits_for_jobs_in_flight_and_no_longer_than_the_drain_timeout() -> None:
    broker, events = Broker(), list[Event]()
    worker = Worker(broker, events)
    broker.publish(0, "x", "first")
    broker.publish(0, "y", "second")
    worker.consumer.assign(0)
    worker.consumer.fetch(0, 2)
    await worker.take(10)
    began = loop_time()
    revoking = asyncio.create_task(worker.consumer.revoke([0]))
    await asyncio.sleep(5)
    worker.end(lambda running: running[0])
    await revoking
    assert loop_time() - began == pytest.approx(20)
    assert broker.committed[0] == 1  # the second still runs
    worker.end(lambda running: running[0])
    assert broker.committed[0] == 1  # no longer ours


@pytest.mark.looptime
async def test_a_revoke_waits_until_a_refused_job_is_dead_lettered() -> None:
    broker, events = Broker(), list[Event]()
    worker = Worker(broker, events)
    dead_lettered: list[Callable[[], None]] = []
    dead_letters = type("DeadLetters", (), {"put": lambda _, _message, _why, then: dead_lettered.append(then)})()
    worker.source._dead_letters = dead_letters
    broker.publish(0, "x", "first")
    worker.consumer.assign(0)
    worker.consumer.fetch(0, 1)
    await worker.take(1)
    [refused] = worker.running
    refused.settle("refused")
    revoking = asyncio.create_task(worker.consumer.revoke([0]))
    await asyncio.sleep(5)
    assert not revoking.done()
    broker.accepted.add(refused.job.id)  # it will not be redelivered
    [then] = dead_lettered
    then()
    await revoking
    assert broker.committed[0] == 1


@pytest.mark.looptime
async def test_after_a_stall_nothing_is_started_or_failed_until_its_ownership_is_verified() -> None:
    stalled = 0.0
    broker, events = Broker(), list[Event]()
    worker = Worker(broker, events, lambda: loop_time() + stalled)
    broker.publish(0, "x", "first")
    broker.publish(1, "y", "second")
    broker.publish(1, "z", "third")
    for partition in range(2):
        worker.consumer.assign(partition)
        worker.consumer.fetch(partition, 2)
    await worker.source.ready()
    await worker.take(2)
    first, second = worker.running
    assert first.still_ours is not None
    assert second.still_ours is not None
    assert await first.still_ours()
    await asyncio.sleep(60)  # time passes
    assert await first.still_ours()
    stalled = 20.0
    await worker.take(1)
    assert len(worker.running) == 2
    assert not worker.consumer.ownership_verified
    asking, ready = asyncio.gather(first.still_ours(), second.still_ours()), asyncio.create_task(worker.source.ready())
    await asyncio.sleep(100)
    worker.consumer.lose(0)
    await asyncio.sleep(100)
    assert not ready.done()
    assert not asking.done()
    worker.consumer.ownership_verified = True  # the brokers have answered
    assert [*await asking] == [False, True]
    await ready
    await worker.take(1)
    assert len(worker.running) == 3
    worker.running.remove(first)
    first.settle("abandoned")
    await worker.finish()  # the first is redelivered to us, and runs again
    assert broker.committed[:2] == [1, 2]
    await worker.source.aclose()


async def test_one_slow_job_does_not_let_the_rest_run_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "MAX_WIDTH", 4)
    broker, events = Broker(), list[Event]()
    worker = Worker(broker, events)
    for number in range(20):
        broker.publish(0, f"instance {number}", str(number))
    worker.consumer.assign(0)
    worker.consumer.fetch(0, 1)
    await worker.take(1)
    for _ in range(10):
        worker.consumer.fetch(0, 1)
        await worker.take(1)
        if len(worker.running) > 1:
            worker.end(lambda running: running[1])
    assert worker.consumer.paused == {0}
    assert worker.consumer.positions[0] == 5
    worker.end(lambda running: running[0])
    assert worker.consumer.paused == frozenset()


class TwoTypes:
    """A source of two job types, with a partition of each, whose gates may be narrow."""

    def __init__(self, limits: Limits) -> None:
        self.gates: dict[str, Gate] = {**gates_of("a", limits=limits), **gates_of("b")}
        self.brokers = {job_type: Broker(job_type=job_type) for job_type in "ab"}
        self.consumers: dict[str, Consumer] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(topic, "Consumer", self._consumer)
            self.source = KafkaSource(
                Kafka("broker:9092"),
                "w",
                self.gates,
                parallelism=ROOM // 2,
                drain_timeout=20,
                journal=Journal(),
                observer=lambda _: None,
                clock=loop_time,
                random=Random(0),
            )

    def _consumer(self, kafka: Kafka, job_type: str, *rest: Any) -> Consumer:
        self.consumers[job_type] = consumer = Consumer(kafka, job_type, *rest)
        consumer.broker = self.brokers[job_type]
        return consumer

    def publish(self, job_type: str, count: int) -> None:
        before = len(self.brokers[job_type].log[0])
        for number in range(before, before + count):
            self.brokers[job_type].publish(0, f"{job_type} {number}", f"{job_type} {number}")
        self.consumers[job_type].assign(0)

    async def take(self, count: int = 100) -> list[tuple[Delivery, Permit]]:
        for consumer in self.consumers.values():
            consumer.fetch(0, ROOM)
        taken = await self.source.take(count, unused)
        return [(delivery, self.gates[delivery.job.job_type].enter()) for delivery in taken]

    def end(self, delivery: Delivery, permit: Permit) -> None:
        with permit:
            self.brokers[delivery.job.job_type].accepted.add(delivery.job.id)
            delivery.settle("accepted")


def types(taken: Sequence[tuple[Delivery, Permit]]) -> str:
    return "".join(delivery.job.job_type for delivery, _ in taken)


@pytest.mark.looptime
async def test_a_closed_gate_holds_the_records_of_its_type_and_the_other_one_goes_on() -> None:
    two = TwoTypes(Limits(parallelism=1))
    two.publish("a", 5)
    two.publish("b", 5)
    [first, *rest] = await two.take()
    assert types([first, *rest]) == "abbbbb"
    assert await two.take() == []
    ready = asyncio.create_task(two.source.ready())
    await asyncio.sleep(0.5)
    assert not ready.done()
    two.publish("b", 1)
    [another] = await two.take()
    assert types([another]) == "b"
    two.end(*first)
    await ready
    assert types(await two.take()) == "a"
    assert two.brokers["a"].committed[0] == 1
    await two.source.aclose()


@pytest.mark.looptime
async def test_types_with_waiting_records_take_turns() -> None:
    two = TwoTypes(Limits())
    two.publish("a", 8)
    two.publish("b", 3)
    assert types(await two.take(4)) == "abab"
    assert types(await two.take(4)) == "abaa"


@pytest.mark.looptime
async def test_a_rate_is_kept_over_kafka_and_the_source_sleeps_between() -> None:
    two = TwoTypes(Limits(per_second=5))
    two.publish("a", 100)
    two.consumers["a"].fetch(0, ROOM)
    begun: list[float] = []
    while loop_time() < 10:
        await two.source.ready()
        for delivery, permit in await two.take():
            begun.append(loop_time())
            two.end(delivery, permit)
        if not two.source._queues["a"].ready:
            two.consumers["a"].fetch(0, ROOM)
    assert 48 <= len(begun) <= 52
    for first, at in enumerate(begun):
        assert sum(at <= other <= at + 1 for other in begun[first:]) <= 5 + 5 + 1
    await two.source.aclose()


@pytest.mark.looptime
async def test_while_the_breaker_is_open_one_record_at_a_time_is_started() -> None:
    two = TwoTypes(Limits(breaker=Breaker(failures=1)))
    two.publish("a", 8)
    [(_, permit)] = await two.take(1)
    assert permit.begin()
    with permit:
        assert permit.failed("no")
    assert await two.take() == []
    await two.source.ready()
    assert loop_time() == pytest.approx(1, abs=0.002)
    [(_, probe)] = await two.take()
    assert probe.begin()
    assert await two.take() == []
    with probe:
        probe.succeeded()
    assert len(await two.take()) == 6
    await two.source.aclose()


@pytest.mark.looptime
@pytest.mark.parametrize("taken_away", [True, False])
async def test_a_parked_record_is_given_up_at_once_when_its_partition_goes_and_is_not_committed(
    taken_away: bool,
) -> None:
    two = TwoTypes(Limits())
    parking, slots = Parking(loop_time), Slots(1, loop_time)
    running = asyncio.create_task(parking.run())
    two.publish("a", 2)
    await slots.reserve(1)
    slots.occupy()
    [(delivery, permit), other] = await two.take()
    with permit:
        assert permit.begin()
    place = Place(slots)
    parked = asyncio.create_task(parking.park(delivery, two.gates["a"], place, 5 if not taken_away else 600))
    two.end(*other)
    await asyncio.sleep(1)
    assert (slots.busy, two.gates["a"].parked) == (0, 1)
    if not taken_away:
        following = await parked
        assert following is not None
        two.end(delivery, following)
        assert two.brokers["a"].committed[0] == 2
        place.vacate()
    else:
        revoking = asyncio.create_task(two.consumers["a"].revoke([0]))
        assert await parked is None
        delivery.settle("abandoned")
        await revoking
        assert loop_time() == 1
        assert two.brokers["a"].committed[0] == 0
        two.consumers["a"].assign(0)  # it is redelivered
        [(again, _)] = await two.take()  # the other one is known to have ended
        assert again.job.id == delivery.job.id
    assert (slots.busy, two.gates["a"].parked) == (0, 0)
    running.cancel()
    await two.source.aclose()
