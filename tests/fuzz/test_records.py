"""Whatever Kafka carries: a record is run or skipped; either way its offset is committed and nothing is lost."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.budget import examples
from fuzz.calls import VARIABLES, damaged, to_bytes, wrong
from rochallor_worker.engine._pb.workflow.v1.dispatch_pb2 import JobDispatchEvent
from rochallor_worker.events import Event, Skipped
from rochallor_worker.source.kafka import topic
from rochallor_worker.source.kafka.records import UndecodableError, decode
from unit.worker.source.test_records import EVENT
from unit.worker.source.test_source import ROOM, Broker, Consumer, Message, Worker

RIGHT: dict[str, Any] = EVENT | {"job_payload": to_bytes(VARIABLES)}


def event(created: tuple[int, int] | None = None, **fields: Any) -> bytes:
    made = JobDispatchEvent(**(RIGHT | fields))
    if created is not None:
        made.created_at.seconds, made.created_at.nanos = created
    return made.SerializeToString()


numbers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 2**62, -(2**63)])
payloads = st.binary(max_size=40) | damaged(RIGHT["job_payload"]) | wrong(VARIABLES).map(to_bytes)
texts = st.sampled_from(["", "a", "j", "i", "..", "a/b", "\0", "x" * 10_000]) | st.text(max_size=5)
events = st.builds(
    event,
    st.none() | st.tuples(numbers, st.integers(-(2**31), 2**31 - 1)),
    schema_version=st.integers(0, 2**32 - 1),
    dedup_id=texts,
    job_id=texts,
    instance_id=texts,
    step_execution_id=texts,
    job_type=st.sampled_from(["a", "a", "a", "b", ""]),
    retries_remaining=st.integers(-(2**31), 2**31 - 1),
    job_payload=payloads,
)
contents = st.none() | st.binary(max_size=40) | events | damaged(event())


@examples(10)
@given(content=contents)
@example(content=event((2**62, 0)))
@example(content=event((0, -(2**31))))
@example(content=event(job_payload=b'{"a":"\xff"}'))
@example(content=event(job_payload=b'{"a":' + b"9" * 5000 + b"}"))
def test_any_value_is_a_job_or_undecodable(content: bytes | None) -> None:
    with suppress(UndecodableError):
        _, job = decode(content, "a")
        assert job.id
        assert job.instance_id
        assert job.variables is not None
        json.dumps(job.variables)


class AnyBroker(Broker):
    """Takes a commit without a check of the jobs below it: here several events may be of one job."""

    def commit(self, partition: int, offset: int) -> None:
        self.committed[partition] = max(self.committed[partition], offset)


@pytest.mark.looptime
@examples(2)
@given(batch=st.lists(contents, max_size=12))
@example(batch=[event((2**62, 0)), event(job_payload=b'{"a":"\xff"}')])
async def test_any_batch_is_processed(batch: list[bytes | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "Consumer", Consumer)
    broker, events = AnyBroker(), list[Event]()
    worker = Worker(broker, events)
    expected: set[object] = set()
    jobs = 0
    for place, content in enumerate([*batch, event(dedup_id="last", job_id="last", instance_id="last")]):
        broker.log[0].append(Message(0, place, content))  # type: ignore[arg-type]
        with suppress(UndecodableError):
            expected.add(decode(content, "a")[0] or place)
            jobs += 1
    worker.consumer.assign(0)
    while broker.committed[0] <= len(batch):
        worker.consumer.fetch(0, ROOM)
        await worker.take(ROOM)
        while worker.running:
            worker.end(lambda running: running[0])
            await worker.take(ROOM)
    assert "last" in broker.accepted
    assert sum(isinstance(one, Skipped) for one in events) == len(batch) + 1 - jobs
    assert len(events) + len(expected) == len(batch) + 1, "a record is run, skipped, or a duplicate of another one"
    await worker.source.aclose()
