"""What the doctor finds about real brokers; it leaves nothing there."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from contextlib import closing
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from confluent_kafka import Consumer

from cluster.kafka import PASSWORD, USERNAME
from integration.kafka.workers import WITHIN_S, site
from rochallor_worker.doctor.brokers import check_brokers
from rochallor_worker.source.kafka.connection import Kafka, NewTopics
from rochallor_worker.source.kafka.diagnosis import Diagnosis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.kafka import Broker
    from integration.engine.pki import Authority
    from rochallor_worker.doctor.findings import Finding


@pytest.fixture
def job_type() -> str:
    return f"pick-{uuid4().hex[:8]}"


def test_existing_topics_and_a_missing_one(broker: Broker, job_type: str) -> None:
    broker.create_topic(f"workflow.jobs.{job_type}", 6)
    kafka = Kafka(broker.bootstrap, dead_letter=True)
    reached, topic, dead_letters, missing, _ = check_brokers(kafka, [job_type, f"{job_type}-missing"])
    assert (reached.state, reached.found) == ("ok", f"answers at {broker.bootstrap} (PLAINTEXT)")
    assert (topic.check, topic.state) == (f"topic workflow.jobs.{job_type}", "ok")
    assert topic.found == "6 partitions, 0 records wait; topic and group can be read"
    assert (dead_letters.check, dead_letters.state) == (f"topic workflow.jobs.{job_type}.dlq", "failed")
    assert (missing.state, missing.found) == ("failed", "is missing")
    assert "stops the engine's dispatch of every type" in missing.advice
    assert broker.committed(f"workflow.workers.{job_type}", f"workflow.jobs.{job_type}") == {}


async def test_the_lag_is_counted(broker: Broker, tmp_path: Path) -> None:
    async with site(broker, tmp_path, partitions=1) as here:
        here.start(3)
        async with here.worker():
            await here.until_ended(3)
            await here.until_committed()
        here.start(2)
        async with asyncio.timeout(WITHIN_S):
            while sum((await asyncio.to_thread(broker.end_offsets, here.topic)).values()) < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        _, topic = await asyncio.to_thread(check_brokers, Kafka(broker.bootstrap), [here.job_type])
    assert topic.found == "1 partition, 2 records wait; topic and group can be read"
    assert topic.advice == "More than one worker needs more than one partition."


def test_a_login_and_rights(broker: Broker, kafka_authority: Authority, job_type: str) -> None:
    topic = f"workflow.jobs.{job_type}"
    broker.create_topic(topic)

    def look(password: str = PASSWORD) -> list[Finding]:
        kafka = Kafka(
            broker.bootstrap_sasl,
            security_protocol="SASL_SSL",
            username=USERNAME,
            password=password,
            ca_file=str(kafka_authority.ca.cert),
        )
        return check_brokers(kafka, [job_type])

    [refused] = look("a wrong one, as it happens")
    assert refused.state == "failed"
    assert "uthentication" in refused.found
    assert "a wrong one" not in str(refused)
    broker.allow("topic", topic, "write")  # a topic may be visible without being readable
    _, unreadable = look()
    assert unreadable.state == "failed"
    assert unreadable.found.startswith("cannot be read: ")
    assert unreadable.found.endswith("Broker: Topic authorization failed")
    broker.allow("topic", topic, "read")
    assert [row.state for row in look()] == ["ok", "ok"]


def test_topics_that_workers_create(broker: Broker, job_type: str) -> None:
    kafka = Kafka(broker.bootstrap, dead_letter=True, create_topics=NewTopics(1, 1))
    _, topic, dead_letters = check_brokers(kafka, [job_type])
    assert (topic.state, topic.found) == ("warning", "is missing")
    assert topic.advice.startswith("A worker creates it when it starts.")
    assert (dead_letters.state, dead_letters.found) == ("note", "is missing")


def test_no_brokers() -> None:
    [found] = check_brokers(Kafka("127.0.0.1:1"), ["pick"])
    assert (found.check, found.state) == ("Kafka", "failed")
    assert "onnect" in found.found
    assert "\n" not in found.found


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of something that answers as a web server does to what it can't read."""

    class Refuse(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_what_answers_is_no_kafka(web_server: str) -> None:
    sentence = f"{web_server} does not speak Kafka, or not with this security protocol: check host and port"
    [found] = check_brokers(Kafka(web_server), ["pick"])
    assert found.found == f"cannot reach {web_server} (PLAINTEXT): {sentence}"
    diagnosis = Diagnosis("pick", web_server)
    settings = {"bootstrap.servers": web_server, "group.id": "pick", "error_cb": diagnosis.connection_failed}
    with closing(Consumer({**settings, "log_level": 0})) as consumer:
        diagnosis.examine(consumer, subscribed=False)
    assert diagnosis.problem == ("KafkaUnreachable", f"cannot reach Kafka at {web_server}: {sentence}")


def test_a_login_that_is_not_set() -> None:
    [found] = check_brokers(Kafka("127.0.0.1:1", security_protocol="SASL_SSL"), ["pick"])
    assert found.state == "failed"
    assert "needs a user" in found.found
