"""The dev engine's relay against a real broker (engine.md: Kafka dispatch)."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from logged import logged_by
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.engine._pb.workflow.v1.dispatch_pb2 import JobDispatchEvent
from waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cluster.kafka import Broker
    from rochallor_worker.devengine.records import Generation

READ_S = 90.0


@pytest.fixture
def job_type() -> str:
    return f"pick-{uuid4().hex}"


@asynccontextmanager
async def dispatching(
    bootstrap: str, *job_types: str, replay: int = 10, generation: Generation = "fenced"
) -> AsyncIterator[DevEngine]:
    """An engine with the definition `order`: a task of each job type, with three retries, in a row."""
    steps = [
        {"id": name, "name": name, "type": "SERVICE_TASK", "jobType": name, "retryCount": 3, "nextStep": following}
        for name, following in zip(job_types, (*job_types[1:], "end"), strict=True)
    ]
    order = {"id": "order", "name": "Order", "steps": [*steps, {"id": "end", "name": "End", "type": "END"}]}
    async with DevEngine(dispatch_mode="kafka_outbox", kafka=bootstrap, replay=replay, generation=generation) as engine:
        engine.state.definitions.upload(msgspec.convert(order, Definition))
        yield engine


def _read(bootstrap: str, job_type: str, enough: Callable[[list[Message]], bool]) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    found: list[Message] = []
    deadline = time.monotonic() + READ_S
    try:
        partitions = consumer.list_topics(topic(job_type), timeout=READ_S).topics[topic(job_type)].partitions
        consumer.assign([TopicPartition(topic(job_type), partition, 0) for partition in partitions])
        while not enough(found):
            assert time.monotonic() < deadline, f"only {len(found)} records came"
            for message in consumer.consume(100, timeout=0.1):
                assert message.error() is None
                found.append(message)
    finally:
        consumer.close()
    return found


async def read(broker: Broker, job_type: str, count: int) -> list[Message]:
    """Wait until the topic of a job type has at least `count` records, and return them."""
    return await asyncio.to_thread(_read, broker.bootstrap, job_type, lambda found: len(found) >= count)


def event(message: Message) -> JobDispatchEvent:
    return JobDispatchEvent.FromString(message.value() or b"")


def topic(job_type: str) -> str:
    return f"workflow.jobs.{job_type}"


async def test_a_job_is_published_as_the_engine_publishes_it(broker: Broker, job_type: str) -> None:
    broker.create_topic(topic(job_type))
    async with dispatching(broker.bootstrap, job_type) as engine:
        instance = engine.state.start("order", variables={"sku": 7})
        [record] = await read(broker, job_type, 1)
    [job] = engine.state.jobs.values()
    found = event(record)
    assert record.key() == instance.id.encode()
    headers = [("content-type", b"application/x-protobuf"), ("dedup-id", found.dedup_id.encode())]
    assert record.headers() == headers
    assert (found.schema_version, found.job_id, found.instance_id, found.job_type) == (1, job.id, instance.id, job_type)
    assert (found.step_execution_id, found.retries_remaining) == (job.execution.id, 3)
    assert msgspec.json.decode(found.job_payload) == {"sku": 7}


@pytest.mark.parametrize("generation", ["A", "fenced"])
async def test_each_step_goes_to_the_topic_of_its_type_and_a_retry_is_a_new_event(
    broker: Broker, job_type: str, generation: Generation
) -> None:
    second = f"{job_type}-second"
    for name in (job_type, second):
        broker.create_topic(topic(name))
    async with dispatching(broker.bootstrap, job_type, second, generation=generation) as engine:
        engine.state.start("order")
        [record] = await read(broker, job_type, 1)
        engine.state.fail(event(record).job_id, "w", "boom", retryable=True)
        first, retry = map(event, await read(broker, job_type, 2))
        assert (first.step_execution_id, first.retries_remaining) == (
            retry.step_execution_id,
            retry.retries_remaining + 1,
        )
        assert (first.job_id == retry.job_id) == (generation == "A")
        assert first.dedup_id != retry.dedup_id
        engine.state.complete(retry.job_id, "w", {"picked": True})
        [record] = await read(broker, second, 1)
        assert msgspec.json.decode(event(record).job_payload) == {"picked": True}
    assert broker.end_offsets(topic(job_type)) == {0: 2}


@pytest.mark.parametrize("generation", ["A", "fenced"])
async def test_the_events_of_an_instance_are_in_one_partition_in_order(
    broker: Broker, job_type: str, generation: Generation
) -> None:
    broker.create_topic(topic(job_type), 3)
    async with dispatching(broker.bootstrap, job_type, generation=generation) as engine:
        for _ in range(50):
            engine.state.start("order")
        for _ in range(3):
            for job_id in list(engine.state.jobs):  # on a fenced engine only a step's newest job can fail
                engine.state.fail(job_id, "w", "boom", retryable=True)
        records = await read(broker, job_type, 200)
    partitions = defaultdict(set)
    retries = defaultdict(list)
    for record in records:
        partitions[record.key()].add(record.partition())
        retries[record.key()].append(event(record).retries_remaining)
    assert list(retries.values()) == [[3, 2, 1, 0]] * 50
    assert {len(found) for found in partitions.values()} == {1}
    assert len(set.union(*partitions.values())) == 3


async def test_a_restart_publishes_the_last_events_again(broker: Broker, job_type: str) -> None:
    broker.create_topic(topic(job_type))
    async with dispatching(broker.bootstrap, job_type, replay=2) as engine:
        for _ in range(3):
            engine.state.start("order")
        before = [event(record).dedup_id for record in await read(broker, job_type, 3)]
        await until(lambda: not engine.state.outbox.waiting)  # it learns a moment later that Kafka has them
        await engine.stop()
        engine.state.start("order")  # a call that a restart interrupts
        await engine.start()
        after = [event(record).dedup_id for record in await read(broker, job_type, 6)][3:]
    assert after[:2] == before[1:]
    assert after[2] not in before


async def test_events_wait_for_a_missing_topic_and_delay_no_others(broker: Broker, job_type: str) -> None:
    present = f"{job_type}-present"
    broker.create_topic(topic(present))
    with logged_by("rochallor_worker") as logged:
        async with dispatching(broker.bootstrap, job_type, present) as engine:
            for _ in range(2):
                engine.state.start("order")
            async with asyncio.timeout(READ_S):
                while not logged:  # noqa: ASYNC110 — a log has no event
                    await asyncio.sleep(0.01)
            [job, _] = list(engine.state.jobs.values())
            engine.state.complete(job.id, "w")
            await read(broker, present, 1)
            broker.create_topic(topic(job_type))
            records = await read(broker, job_type, 2)
    assert len({event(record).dedup_id for record in records}) == 2
    [line] = logged
    assert (line["topic"], line["log_level"]) == (topic(job_type), "warning")
    assert "Unknown topic" in line["reason"]


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_nothing_is_lost_while_a_broker_restarts(broker: Broker, job_type: str, end: str) -> None:
    broker.create_topic(topic(job_type), 3)
    async with dispatching(broker.bootstrap, job_type) as engine:
        back = asyncio.Event()

        async def load() -> None:
            while not back.is_set():
                engine.state.start("order")
                await asyncio.sleep(0.005)

        loading = asyncio.create_task(load())
        await read(broker, job_type, 100)
        await asyncio.to_thread(getattr(broker, end))
        made = len(engine.state.jobs)
        await asyncio.to_thread(broker.start)
        back.set()
        await loading
        assert len(engine.state.jobs) > made  # calls were served meanwhile

        def complete(records: list[Message]) -> bool:
            jobs = set(engine.state.jobs)
            return len(records) >= len(jobs) and {event(record).job_id for record in records} == jobs

        await asyncio.to_thread(_read, broker.bootstrap, job_type, complete)


async def test_an_event_that_kafka_refuses_delays_no_others(broker: Broker, job_type: str) -> None:
    broker.create_topic(topic(job_type))
    with logged_by("rochallor_worker") as logged:
        async with dispatching(broker.bootstrap, job_type) as engine:
            large = engine.state.start("order", variables={"text": "x" * 2**20})
            small = engine.state.start("order")
            [record] = await read(broker, job_type, 1)
            later = engine.state.start("order")
            _, second = await read(broker, job_type, 2)
            # it learns a moment later that Kafka has the others
            await until(lambda: [event.job.instance for event in engine.state.outbox.waiting] == [large])
    assert [record.key(), second.key()] == [small.id.encode(), later.id.encode()]
    assert [line["reason"] for line in logged] == ["Unable to produce message: Broker: Message size too large"]
