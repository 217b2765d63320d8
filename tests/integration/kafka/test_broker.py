"""The brokers that other tests rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

from cluster.kafka import PASSWORD, USERNAME, Broker

if TYPE_CHECKING:
    from integration.engine.pki import Authority


def produce(topic: str, values: list[bytes], **settings: Any) -> None:
    errors: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            errors.append(error.name())

    producer = Producer(settings)
    for value in values:
        producer.produce(topic, value, on_delivery=delivered)
    assert producer.flush(30) == 0
    assert not errors


def consume(topic: str, count: int, group: str, **settings: Any) -> list[bytes]:
    """Read `count` records and commit them."""
    settings |= {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer(settings)
    try:
        consumer.subscribe([topic])
        messages = consumer.consume(count, timeout=30)
        consumer.commit(asynchronous=False)
        return [message.value() or b"" for message in messages]
    finally:
        consumer.close()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_restarted_broker_has_its_records_and_offsets(broker: Broker, end: str) -> None:
    topic = f"topic-{uuid4().hex}"
    client = {"bootstrap.servers": broker.bootstrap}
    broker.create_topic(topic)
    produce(topic, [b"a", b"b"], **client)
    assert consume(topic, 1, topic, **client) == [b"a"]
    getattr(broker, end)()
    broker.start()
    assert broker.end_offsets(topic) == {0: 2}
    assert broker.committed(topic, topic) == {0: 1}
    assert consume(topic, 1, topic, **client) == [b"b"]


def test_topics_are_never_created_implicitly_and_can_grow(broker: Broker) -> None:
    topic = f"topic-{uuid4().hex}"
    with pytest.raises(AssertionError, match="UNKNOWN_TOPIC"):
        produce(topic, [b"a"], **{"bootstrap.servers": broker.bootstrap, "topic.metadata.propagation.max.ms": 0})
    broker.create_topic(topic, 2)
    broker.add_partitions(topic, 3)
    assert broker.end_offsets(topic) == {0: 0, 1: 0, 2: 0}


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_known_user_can_log_in_over_tls(broker: Broker, kafka_authority: Authority, mechanism: str) -> None:
    topic = f"topic-{uuid4().hex}"
    broker.create_topic(topic)
    client = {
        "bootstrap.servers": broker.bootstrap_sasl,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(kafka_authority.ca.cert),
        "sasl.mechanism": mechanism,
        "sasl.username": USERNAME,
        "sasl.password": PASSWORD,
    }
    produce(topic, [b"a"], **client)
    assert consume(topic, 1, topic, **client) == [b"a"]
    with pytest.raises(KafkaException):
        Producer({**client, "sasl.password": "wrong", "log_level": 0}).list_topics(timeout=2)


def test_the_mock_forms_groups(mock_broker: str) -> None:
    client = {"bootstrap.servers": mock_broker}
    produce("mock", [b"a"], **client)
    assert consume("mock", 1, "mock", **client) == [b"a"]
