"""The relay while Kafka is unavailable, slow or refusing, or its producer has failed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from logged import logged_by
from rochallor_worker.devengine import relay
from rochallor_worker.devengine.model import EngineState
from waiting import until

NOWHERE = "127.0.0.1:1"
PICK, SHIP = "workflow.jobs.pick", "workflow.jobs.ship"


@pytest.fixture
def dispatching(state: EngineState) -> EngineState:
    """The engine that knows `order`, with Kafka dispatch."""
    state.dispatch_mode = "kafka_outbox"
    return state


class Kafka:
    """A stand-in for the producer: `refuse` returns a topic's error; the first `silent` flushes bring no answer."""

    def __init__(self, refuse: Callable[[str], KafkaError | None] = lambda _: None, silent: int = 0) -> None:
        self.producers = 0
        self.tried: list[str] = []
        self._refuse, self._silent = refuse, silent

    def __call__(self, _: dict[str, Any]) -> "Kafka":
        self.producers += 1
        return self

    def produce(self, topic: str, *_: Any, on_delivery: Any, **__: Any) -> None:
        self.tried.append(topic)
        if error := self._refuse(topic):
            raise KafkaException(error)
        on_delivery(None, None)

    def flush(self, _: float) -> int:
        self._silent -= 1
        return int(self._silent >= 0)

    def purge(self) -> None:
        pass


async def test_events_wait_for_an_unavailable_broker_and_a_stop_does_not(
    dispatching: EngineState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "SILENCE_SECONDS", 0)
    dispatching.start("order")
    with logged_by("rochallor_worker") as logs:
        async with relay.relaying(dispatching.outbox, NOWHERE):
            await until(lambda: logs)
            dispatching.start("order")
            stopping = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopping < 60  # the broker never answers
    assert len(dispatching.outbox.waiting) == 2


async def test_silence_is_logged_once(dispatching: EngineState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "Producer", Kafka(silent=5))
    monkeypatch.setattr(relay, "SILENCE_SECONDS", 0)
    dispatching.start("order")
    with logged_by("rochallor_worker") as logs:
        async with relay.relaying(dispatching.outbox, NOWHERE):
            await until(lambda: not dispatching.outbox.waiting)
    assert logs == [{"event": "Kafka does not answer, events are waiting", "kafka": NOWHERE, "log_level": "warning"}]


async def test_a_refused_job_type_pauses(dispatching: EngineState, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka(lambda topic: KafkaError(KafkaError._UNKNOWN_TOPIC) if topic == PICK else None)
    monkeypatch.setattr(relay, "Producer", kafka)
    monkeypatch.setattr(relay, "RETRY_SECONDS", 3600)
    dispatching.start("order")
    [job] = dispatching.jobs.values()
    async with relay.relaying(dispatching.outbox, NOWHERE):
        await until(lambda: kafka.tried)
        dispatching.start("order")
        dispatching.complete(job.id, "w")
        await until(lambda: SHIP in kafka.tried)
    assert kafka.tried == [PICK, SHIP]
    assert [event.job.job_type for event in dispatching.outbox.waiting] == ["pick", "pick"]


async def test_a_refused_event_is_retried(dispatching: EngineState, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka(lambda _: KafkaError(KafkaError._UNKNOWN_TOPIC) if len(kafka.tried) < 4 else None)
    monkeypatch.setattr(relay, "Producer", kafka)
    monkeypatch.setattr(relay, "RETRY_SECONDS", 0.01)
    dispatching.start("order")
    with logged_by("rochallor_worker") as logs:
        async with relay.relaying(dispatching.outbox, NOWHERE):
            await until(lambda: not dispatching.outbox.waiting)
    assert (kafka.tried, kafka.producers, len(logs)) == ([PICK] * 4, 1, 1)


async def test_a_failed_producer_is_replaced(dispatching: EngineState, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka(lambda _: KafkaError(KafkaError._FATAL, fatal=True) if kafka.producers == 1 else None)
    monkeypatch.setattr(relay, "Producer", kafka)
    monkeypatch.setattr(relay, "RETRY_SECONDS", 0.01)
    dispatching.start("order")
    async with relay.relaying(dispatching.outbox, NOWHERE):
        await until(lambda: not dispatching.outbox.waiting)
    assert kafka.producers == 2
