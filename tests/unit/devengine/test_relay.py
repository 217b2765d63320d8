"""The relay without a broker: away, silent, or with a producer that is done for."""

import asyncio
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from rochallor_worker.devengine import relay
from rochallor_worker.devengine.model import EngineState

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def dispatching(state: EngineState) -> EngineState:
    """The engine that knows `order`, as it is when Kafka dispatches."""
    state.dispatch_mode = "kafka_outbox"
    return state


async def test_a_stop_does_not_wait_for_a_broker_that_is_away(dispatching: EngineState) -> None:
    async with asyncio.timeout(10):
        async with relay.relaying(dispatching.outbox, NOWHERE):
            dispatching.start("order")
    assert len(dispatching.outbox.waiting) == 1


async def test_a_broker_that_is_away_is_one_line(dispatching: EngineState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "SILENCE_SECONDS", 0)
    with capture_logs() as said:
        async with relay.relaying(dispatching.outbox, NOWHERE):
            dispatching.start("order")
            async with asyncio.timeout(30):
                while not said:  # noqa: ASYNC110 — a log has no event
                    await asyncio.sleep(0.01)
            dispatching.start("order")
    assert said == [{"event": "Kafka does not answer: events wait", "kafka": NOWHERE, "log_level": "warning"}]


class BrokenProducer:
    """A producer of which the first is done for, and later ones publish at once."""

    made = 0

    def __init__(self, _: dict[str, Any]) -> None:
        BrokenProducer.made += 1
        self._broken = BrokenProducer.made == 1

    def produce(self, *_: Any, on_delivery: Any, **__: Any) -> None:
        if self._broken:
            raise KafkaException(KafkaError(KafkaError._FATAL, fatal=True))
        on_delivery(None, None)

    def flush(self, _: float) -> int:
        return 0

    def purge(self) -> None:
        pass


async def test_a_producer_that_is_done_for_is_replaced(
    dispatching: EngineState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "Producer", BrokenProducer)
    monkeypatch.setattr(relay, "RETRY_SECONDS", 0)
    dispatching.start("order")
    async with asyncio.timeout(10), relay.relaying(dispatching.outbox, NOWHERE):
        while dispatching.outbox.waiting:  # noqa: ASYNC110 — the outbox says only what is added
            await asyncio.sleep(0.01)
    assert BrokenProducer.made == 2
