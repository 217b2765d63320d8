"""A worker process and a Kafka that refuses, forgets or is silent: what it says, and what runs twice."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Literal

import pytest
from confluent_kafka import Producer

from cluster.kafka import PASSWORD, USERNAME
from integration.kafka.workers import Site, site
from rochallor_worker.source.consumer import SESSION_SECONDS
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
async def test_a_right_that_is_missing_is_said(
    broker: Broker, tmp_path: Path, secure: dict[str, str], kind: Literal["topic", "group"], sentence: str
) -> None:
    async with site(broker, tmp_path) as here, here.worker(**secure) as worker:
        name = here.topic if kind == "topic" else here.group
        await asyncio.to_thread(broker.allow, kind, name, "describe")
        await worker.started()
        said = sentence.format(here.topic)
        await worker.logged(said)
        answer = await worker.get("/readyz")
        assert (answer.status_code, answer.text.startswith(f"KafkaUnreachable: {said}")) == (503, True)
        assert f"{kind.capitalize()} authorization failed" in answer.text
        assert worker.log.count(said) == 1
        await asyncio.to_thread(broker.allow, kind, name, "read")
        await worker.answers("/readyz", 200)  # before any job has come
        here.start(10)
        await here.until_ended(10)


async def test_a_topic_that_is_made_anew_is_committed_like_the_old_one(broker: Broker, tmp_path: Path) -> None:
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


async def test_a_dead_letter_topic_that_refuses_is_said_and_waited_for(
    broker: Broker, tmp_path: Path, secure: dict[str, str]
) -> None:
    async with site(broker, tmp_path, partitions=1) as here, here.worker(kafka_dead_letter="1", **secure) as worker:
        dead_letters = f"{here.topic}.dlq"
        poison(here, 500)
        here.start(10)
        await worker.started()
        await here.until_ended(10)
        await worker.answers("/readyz", 503)
        answer = await worker.get("/readyz")
        assert answer.text == f"TopicNotFound: Kafka has no topic {dead_letters!r} for dead letters: create it\n"
        await asyncio.to_thread(broker.allow, "topic", dead_letters, "describe")
        await asyncio.to_thread(broker.create_topic, dead_letters, 1)
        await until(lambda: "Topic authorization failed" in worker.log)
        await asyncio.to_thread(broker.allow, "topic", dead_letters, "write")
        await worker.answers("/readyz", 200)
        await here.until_committed()
        assert broker.end_offsets(dead_letters) == {0: 500}
        assert worker.log.count("cannot be dead-lettered") < 10


async def test_a_silent_broker_holds_up_no_stop(broker: Broker, tmp_path: Path) -> None:
    async with site(broker, tmp_path, partitions=1) as here:
        await asyncio.to_thread(broker.create_topic, f"{here.topic}.dlq", 1)
        async with here.worker(kafka_dead_letter="1") as worker:
            await worker.started()
            poison(here, 3000)
            await worker.logged("is skipped")
            with broker.silent():
                worker.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(25):  # less than what Kubernetes grants
                    assert await worker.ended() == 0


async def test_a_worker_that_stood_still_starts_nothing_before_the_brokers_say_whose_it_is(
    broker: Broker, tmp_path: Path
) -> None:
    async with (
        site(broker, tmp_path) as here,
        here.worker(1.0, parallelism="4") as still,
        here.worker(1.0, parallelism="4") as other,
    ):
        for worker in (still, other):
            await worker.started()
            await worker.answers("/readyz", 200)
        here.start(120)
        await until(lambda: here.jobs_of(still) and here.jobs_of(other))
        still.process.send_signal(signal.SIGSTOP)
        held = here.jobs_of(still)
        await asyncio.sleep(SESSION_SECONDS + 3)  # the group gives its partitions to the other one
        with broker.silent():
            still.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(4)
            assert here.jobs_of(still) == held
        await still.logged("partitions lost")
        await here.until_ended(120)
