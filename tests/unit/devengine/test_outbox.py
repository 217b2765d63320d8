"""When events are created, and the order in which they are published (engine.md: Kafka dispatch)."""

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import PollingOffError
from rochallor_worker.devengine.messages import dispatch_event
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.outbox import WAVE_EVENTS, Outbox

from .conftest import Clock

if TYPE_CHECKING:
    from rochallor_worker.devengine.records import Dispatch


@pytest.fixture
def dispatching(state: EngineState) -> EngineState:
    """The engine that knows `order`, with Kafka dispatch."""
    state.dispatch_mode = "kafka_outbox"
    return state


def test_each_entered_step_creates_one_event(dispatching: EngineState) -> None:
    instance = dispatching.start("order", variables={"sku": 7})
    [first] = dispatching.outbox.waiting
    assert (first.job.job_type, first.retries_remaining) == ("pick", 2)

    dispatching.complete(first.job.id, "w", {"picked": True})
    dispatching.complete(first.job.id, "w", {"picked": True})  # a repeat creates no event
    [_, second] = dispatching.outbox.waiting
    assert (second.job.job_type, second.job.variables) == ("ship", {"sku": 7, "picked": True})
    assert first.job.variables == {"sku": 7}
    assert first.dedup_id != second.dedup_id

    dispatching.complete(second.job.id, "w")
    assert instance.status == "COMPLETED"
    assert len(dispatching.outbox.waiting) == 2


def test_a_retry_is_a_new_event_until_retries_are_spent(dispatching: EngineState, clock: Clock) -> None:
    instance = dispatching.start("order")
    while instance.status == "ACTIVE":
        clock.now += 1
        dispatching.fail(list(dispatching.jobs)[-1], "w", "boom", retryable=True)
    events = dispatching.outbox.waiting
    assert [event.retries_remaining for event in events] == [2, 1, 0]
    assert [event.created_at - instance.started_at for event in events] == [0, 1, 2]
    assert len({event.dedup_id for event in events}) == 3
    assert {event.job.execution.id for event in events} == {instance.history[0].id}
    assert len({event.job.id for event in events}) == (1 if dispatching.generation == "A" else 3)


def test_the_first_outcome_of_an_event_counts_on_a_fenced_engine(fenced: EngineState) -> None:
    fenced.dispatch_mode = "kafka_outbox"
    instance = fenced.start("order")
    [first] = fenced.outbox.waiting
    fenced.fail(first.job.id, "w", "boom", retryable=True)
    for _ in range(2):  # its outcome once more after a redelivery, and another worker's
        fenced.fail(first.job.id, "w", "boom", retryable=True)
        fenced.complete(first.job.id, "other")
    [_, retry] = fenced.outbox.waiting
    assert (retry.retries_remaining, instance.current_step_ids) == (1, ("a",))
    fenced.complete(retry.job.id, "other")
    assert instance.current_step_ids == ("b",)


def test_a_fail_that_is_not_retryable_creates_no_event(dispatching: EngineState) -> None:
    dispatching.start("order")
    [job] = dispatching.jobs.values()
    dispatching.fail(job.id, "w", "bad address", retryable=False)
    assert len(dispatching.outbox.waiting) == 1


def test_no_job_is_ever_leased(dispatching: EngineState, clock: Clock) -> None:
    dispatching.start("order")
    [job] = dispatching.jobs.values()
    with pytest.raises(PollingOffError):
        dispatching.poll("w", ["pick"], 1)
    clock.now += 1000
    assert dispatching.sweep() == 0
    assert (job.status, job.lock_expires_at, len(dispatching.outbox.waiting)) == ("UNLOCKED", 0, 1)


def test_polled_jobs_create_no_events(state: EngineState) -> None:
    state.start("order")
    assert state.outbox.waiting == []


def test_an_event_as_a_message(dispatching: EngineState, clock: Clock) -> None:
    instance = dispatching.start("order", variables={"sku": "Ä", "nested": [{"n": 1.5}]})
    [event] = dispatching.outbox.waiting
    message = dispatch_event(event)
    assert message.schema_version == 1
    assert (message.dedup_id, message.job_id, message.job_type) == (event.dedup_id, event.job.id, "pick")
    assert (message.instance_id, message.step_execution_id) == (instance.id, instance.history[0].id)
    assert message.retries_remaining == 2
    assert msgspec.json.decode(message.job_payload) == {"sku": "Ä", "nested": [{"n": 1.5}]}
    assert message.created_at.seconds == clock.now
    dispatching.start("order")
    assert dispatch_event(dispatching.outbox.waiting[1]).job_payload == b"{}"


def published(outbox: Outbox) -> list[str]:
    """Publish one wave; return its events' dedup ids."""
    wave = outbox.wave()
    outbox.published(wave)
    return [event.dedup_id for event in wave]


def test_what_was_published_last_is_published_again(clock: Clock, state: EngineState) -> None:
    engine = EngineState(clock=clock, dispatch_mode="kafka_outbox", replay=2)
    engine.definitions.upload(state.definitions.get("order"))
    for _ in range(3):
        engine.start("order")
    first = published(engine.outbox)
    engine.start("order")
    [new] = [event.dedup_id for event in engine.outbox.waiting]
    engine.outbox.replay()
    assert published(engine.outbox) == [*first[1:], new]
    for _ in range(2):  # at a second restart it is already waiting
        engine.outbox.replay()
    assert published(engine.outbox) == [first[2], new]
    assert engine.outbox.waiting == []


def test_a_wave_has_a_bound(dispatching: EngineState) -> None:
    for _ in range(WAVE_EVENTS + 1):
        dispatching.start("order")
    assert [len(published(dispatching.outbox)) for _ in range(3)] == [WAVE_EVENTS, 1, 0]


def test_a_refused_job_type_does_not_hold_up_others(dispatching: EngineState) -> None:
    dispatching.start("order")
    [job] = dispatching.jobs.values()
    dispatching.complete(job.id, "w")
    assert [event.job.job_type for event in dispatching.outbox.wave(without={"pick"})] == ["ship"]


@given(
    retries=st.lists(st.integers(0, 4), min_size=1, max_size=5),
    refused=st.lists(st.sets(st.integers(0, 20)), max_size=10),
)
def test_whatever_is_refused_nothing_is_lost_and_an_instance_keeps_its_order(
    retries: list[int], refused: list[set[int]]
) -> None:
    """Each instance has an event and one for each of its retries; each wave refuses the events with these numbers."""
    engine = EngineState(dispatch_mode="kafka_outbox")
    steps = [
        {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "a", "retryCount": 4, "nextStep": "e"},
        {"id": "e", "name": "E", "type": "END"},
    ]
    engine.definitions.upload(msgspec.convert({"id": "d", "name": "D", "steps": steps}, Definition))
    for count in retries:
        engine.start("d")
        for _ in range(count):
            engine.fail(list(engine.jobs)[-1], "w", "boom", retryable=True)
    made = engine.outbox.waiting
    arrived: list[Dispatch] = []
    for refusals in [*refused, *([set[int]()] * len(made))]:
        wave = engine.outbox.wave()
        accepted = [event for number, event in enumerate(wave) if number not in refusals]
        engine.outbox.published(accepted)
        arrived += reversed(accepted)  # within a wave any order is possible
    assert engine.outbox.waiting == []
    for instance in engine.instances.values():
        expected = [event.dedup_id for event in made if event.job.instance is instance]
        assert [event.dedup_id for event in arrived if event.job.instance is instance] == expected
    assert len(arrived) == len(made)


def test_kafka_needs_its_dispatch_mode() -> None:
    with pytest.raises(ValueError, match='needs the dispatch mode "kafka_outbox"'):
        DevEngine(kafka="127.0.0.1:9092")


@pytest.mark.parametrize("address", ["", "localhost", "http://localhost:9092", "h:0", "h:65536", "h:1,", ":9092"])
def test_a_bad_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="a Kafka address must be host:port, is "):
        DevEngine(dispatch_mode="kafka_outbox", kafka=address)


def test_several_addresses_are_accepted() -> None:
    DevEngine(dispatch_mode="kafka_outbox", kafka="a:9092, b:9092")
