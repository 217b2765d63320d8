"""A Kafka for the tests: the real one, and librdkafka's mock of one where any broker does."""

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
    """Fetch Kafka before the first test that needs it: how long that takes is no test's own."""
    wanted = any("broker" in item.fixturenames for item in session.items if isinstance(item, pytest.Function))
    if wanted and not session.config.option.collectonly:
        kafka.ensure()


@pytest.fixture(scope="session")
def kafka_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that clients must trust at the broker's SASL_SSL listener."""
    return Authority.make(tmp_path_factory.mktemp("kafka") / "pki")


@pytest.fixture(scope="session")
def broker(kafka_authority: Authority) -> Iterator[Broker]:
    """A real broker. Whoever stops or kills it starts it again before the test ends."""
    identity = kafka_authority.issue("broker")
    with Broker(identity.cert, identity.key) as running:
        yield running


@pytest.fixture(scope="session")
def mock_broker() -> Iterator[str]:
    """The address of a mock broker in this process: it forms groups and makes every topic that is asked for."""
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    [found] = producer.list_topics(timeout=10).brokers.values()
    yield f"{found.host}:{found.port}"
    del producer  # the broker ends with it
