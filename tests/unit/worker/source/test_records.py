"""A record becomes a job, or an error of one line."""

from datetime import UTC, datetime

import pytest

from rochallor_worker.engine._pb.workflow.v1.dispatch_pb2 import JobDispatchEvent
from rochallor_worker.source.kafka.records import UndecodableError, decode

EVENT: dict[str, object] = {
    "schema_version": 1,
    "dedup_id": "d",
    "job_id": "j",
    "instance_id": "i",
    "step_execution_id": "s",
    "job_type": "a",
    "retries_remaining": 2,
    "job_payload": b'{"n": 1, "x": 0.5}',
}

IDS = ("dedup_id", "job_id", "instance_id", "step_execution_id")


def event(**fields: object) -> bytes:
    return JobDispatchEvent(**(EVENT | fields)).SerializeToString()  # type: ignore[arg-type]


def test_a_job() -> None:
    dedup_id, job = decode(event(), "a")
    assert dedup_id == "d"
    assert (job.id, job.instance_id, job.step_execution_id, job.job_type) == ("j", "i", "s", "a")
    assert (job.retries_remaining, job.variables) == (2, {"n": 1, "x": 0.5})


@pytest.mark.parametrize("payload", [b"", b"null", b"{}"])
def test_no_variables(payload: bytes) -> None:
    assert decode(event(job_payload=payload), "a")[1].variables == {}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC), datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)),
        (None, None),
        ({"seconds": 2**62}, None),
        ({"seconds": -(2**62)}, None),
        ({"seconds": 1, "nanos": -5}, None),
    ],
)
def test_a_job_has_the_time_of_its_creation_unless_that_cannot_be_read(sent: object, read: datetime | None) -> None:
    assert decode(event(created_at=sent), "a")[1].created_at == read


def test_fields_of_later_engines_are_ignored() -> None:
    later = event() + b"\xfa\x07\x03new"  # field 127
    assert decode(later, "a")[1].id == "j"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "the event names no job or no instance"),
        (b"\xff\xff", "the value is not a JobDispatchEvent"),
        (event(job_id=""), "the event names no job or no instance"),
        (event(job_type="b"), "the event is of job type 'b', its topic of 'a'"),
        *((event(**{name: "x" * 700_000}), f"the event's {name} has 700,000 bytes; the limit is 512") for name in IDS),
        (event(job_type="b" * 700_000), f"the event is of job type '{'b' * 100}', its topic of 'a'"),
        (event(job_payload=b"[1]"), "the job's variables are not a JSON object"),
        (event(job_payload=b'{"a": '), "the job's variables are not a JSON object"),
        (event(job_payload=b"[" * 100_000), "the job's variables are not a JSON object"),
    ],
)
def test_what_is_not_a_job_is_one_line(value: bytes | None, sentence: str) -> None:
    with pytest.raises(UndecodableError) as refusal:
        decode(value, "a")
    assert str(refusal.value).startswith(sentence)
