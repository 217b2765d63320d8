"""Kafka for the tests: a real broker, and librdkafka's mock where any broker will do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from cluster import kafka
from cluster.kafka import Broker
from integration.engine.pki import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Fetch Kafka before the first test that needs it, so that no test is charged with the time."""
    wanted = any("broker" in item.fixturenames for item in session.items if isinstance(item, pytest.Function))
    if wanted and not session.config.option.collectonly:
        kafka.ensure()


@pytest.fixture(scope="session")
def kafka_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that clients must trust at the broker's SASL_SSL listener."""
    return Authority.make(tmp_path_factory.mktemp("kafka") / "pki")


@pytest.fixture(scope="session")
def broker(kafka_authority: Authority) -> Iterator[Broker]:
    """A real broker. A test that stops or kills it starts it again before it ends."""
    identity = kafka_authority.issue("broker")
    with Broker(identity.cert, identity.key) as running:
        yield running


@pytest.fixture(scope="session")
def mock_broker() -> Iterator[str]:
    """The address of a mock broker in this process: it forms groups and creates any topic on demand."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    [found] = producer.list_topics(timeout=10).brokers.values()
    yield f"{found.host}:{found.port}"
    del producer  # the broker ends with it
