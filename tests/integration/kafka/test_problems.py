"""A worker process and a Kafka that refuses, forgets or is silent: what is reported, and what runs twice."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Literal

import pytest
from confluent_kafka import Producer

from cluster.kafka import PASSWORD, USERNAME
from integration.kafka.workers import Site, has_partitions, site
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.kafka import Broker
    from integration.engine.pki import Authority


@pytest.fixture
def secure(broker: Broker, kafka_authority: Authority) -> dict[str, str]:
    """Settings of a worker that needs rights."""
    return {
        "kafka_bootstrap_servers": broker.bootstrap_sasl,
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_username": USERNAME,
        "kafka_sasl_password": PASSWORD,
        "kafka_ca_file": str(kafka_authority.ca.cert),
    }


def poison(here: Site, count: int) -> None:
    producer = Producer({"bootstrap.servers": here.broker.bootstrap})
    for _ in range(count):
        producer.produce(here.topic, b"\xff rubbish")
    producer.flush()


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("topic", "topic {!r} cannot be read: "), ("group", "cannot join the group of {!r}: ")],
)
async def test_a_missing_right_is_reported(
    broker: Broker, tmp_path: Path, secure: dict[str, str], kind: Literal["topic", "group"], sentence: str
) -> None:
    async with site(broker, tmp_path) as here:
        name = here.topic if kind == "topic" else here.group
        await asyncio.to_thread(broker.allow, kind, name, "describe")  # before a worker could use the right
        async with here.worker(**secure) as worker:
            await worker.started()
            problem = sentence.format(here.topic)
            await worker.logged(problem)
            assert f"{kind.capitalize()} authorization failed" in await worker.reports(f"KafkaUnreachable: {problem}")
            assert worker.log.count(problem) == 1
            await asyncio.to_thread(broker.allow, kind, name, "read")
            await worker.answers("/readyz", 200)  # before any job has come
            here.start(10)
            await here.until_ended(10)


async def test_a_recreated_topic_is_committed_like_the_old_one(broker: Broker, tmp_path: Path) -> None:
    async with site(broker, tmp_path, partitions=1) as here, here.worker() as worker:
        await worker.started()
        here.start(200)
        await here.until_ended(200)
        await here.until_committed()
        await asyncio.to_thread(broker.delete_topic, here.topic)
        await asyncio.to_thread(broker.create_topic, here.topic, 1)
        here.start(50)
        await here.until_ended(250)
        await here.until_committed()
        assert len(here.runs()) == 250
        await worker.answers("/readyz", 200)


async def test_deleted_records_are_not_lag(broker: Broker, tmp_path: Path) -> None:
    """A group that has committed nothing lags by all records there ever were, and an autoscaler keeps pods for it."""
    producer = Producer({"bootstrap.servers": broker.bootstrap})

    def publish_and_delete(topic: str, count: int, end: int) -> None:
        for _ in range(count):
            producer.produce(topic, b"", partition=0)
        assert producer.flush(30) == 0
        broker.delete_records(topic, 0, end)

    async with site(broker, tmp_path, partitions=2) as here:
        for count, end in ((900, 900), (100, 1000)):  # first for a new group, then while there is no worker
            await asyncio.to_thread(publish_and_delete, here.topic, count, end)
            async with here.worker():
                while await asyncio.to_thread(broker.committed, here.group, here.topic) != {0: end, 1: 0}:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)


async def test_a_dead_letter_topic_that_refuses_is_reported_and_retried(
    broker: Broker, tmp_path: Path, secure: dict[str, str]
) -> None:
    async with site(broker, tmp_path, partitions=1) as here, here.worker(kafka_dead_letter="1", **secure) as worker:
        dead_letters = f"{here.topic}.dlq"
        poison(here, 500)
        here.start(10)
        await worker.started()
        await here.until_ended(10)
        expected = f"TopicNotFound: Kafka has no topic {dead_letters!r} for dead letters: create it\n"
        assert await worker.reports("TopicNotFound: ") == expected
        await asyncio.to_thread(broker.allow, "topic", dead_letters, "describe")
        await asyncio.to_thread(broker.create_topic, dead_letters, 1)
        await until(lambda: "Topic authorization failed" in worker.log)
        await asyncio.to_thread(broker.allow, "topic", dead_letters, "write")
        await worker.answers("/readyz", 200)
        await here.until_committed()
        assert broker.end_offsets(dead_letters) == {0: 500}
        assert worker.log.count("cannot be dead-lettered") < 10


async def test_a_silent_broker_delays_no_stop(broker: Broker, tmp_path: Path) -> None:
    async with site(broker, tmp_path, partitions=1) as here:
        await asyncio.to_thread(broker.create_topic, f"{here.topic}.dlq", 1)
        async with here.worker(kafka_dead_letter="1") as worker:
            await worker.started()
            poison(here, 3000)
            await worker.logged("is skipped")
            with broker.silent():
                worker.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(30):  # the grace period of Kubernetes
                    assert await worker.ended() == 0


async def test_a_stalled_worker_starts_nothing_before_its_ownership_is_verified(broker: Broker, tmp_path: Path) -> None:
    async with (
        site(broker, tmp_path) as here,
        here.worker(1.0, parallelism="4") as stalled,
        here.worker(1.0, parallelism="4") as other,
    ):
        for worker in (stalled, other):
            await worker.started()
            await worker.answers("/readyz", 200)
            await has_partitions(worker)
        here.start(120)
        await until(lambda: len(here.jobs_of(stalled)) >= 4 and here.jobs_of(other))
        stalled.process.send_signal(signal.SIGSTOP)
        before = len(other.log)
        # at the end of the session the group gives its partitions to the other one
        await until(lambda: '"all": [0, 1, 2, 3, 4, 5]' in other.log[before:])
        held = here.jobs_of(stalled)
        with broker.silent():
            stalled.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(4)
            assert here.jobs_of(stalled) == held
        await stalled.logged("partitions lost")
        await here.until_ended(120)
