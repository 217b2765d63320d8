"""From a Kafka record to a job: engine.md, "Kafka dispatch"."""

from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from rochallor_worker.engine._pb.workflow.v1.dispatch_pb2 import JobDispatchEvent
from rochallor_worker.engine.client import UNREADABLE, ClaimedJob
from rochallor_worker.engine.grpc.messages import readable_time

TOPIC_PREFIX = "workflow.jobs."
GROUP_PREFIX = "workflow.workers."
DEAD_LETTER_SUFFIX = ".dlq"

MAX_ID_BYTES = 512
"""Longest id: an engine's ids have 26 characters, and they are remembered long after their records."""


class UndecodableError(ValueError):
    """A record that is not a job of this type and never will be. Its text says why."""


def topic_of(job_type: str) -> str:
    """Return the topic that carries the jobs of a type."""
    return TOPIC_PREFIX + job_type


def group_of(job_type: str) -> str:
    """Return the consumer group that shares the jobs of a type."""
    return GROUP_PREFIX + job_type


def decode(value: bytes | None, job_type: str) -> tuple[str, ClaimedJob]:
    """Return the dedup id and the job of a record on the topic of `job_type`. Raises `UndecodableError`.

    Fields that later engines add are ignored.
    """
    try:
        event = JobDispatchEvent.FromString(value or b"")
    except DecodeError as error:
        raise UndecodableError("the value is not a JobDispatchEvent") from error
    if not event.job_id or not event.instance_id:
        raise UndecodableError("the event names no job or no instance")
    for name in ("dedup_id", "job_id", "instance_id", "step_execution_id"):
        if (length := len(getattr(event, name).encode())) > MAX_ID_BYTES:
            raise UndecodableError(f"the event's {name} has {length:,} bytes; the limit is {MAX_ID_BYTES}")
    if event.job_type != job_type:
        raise UndecodableError(f"the event is of job type {event.job_type[:100]!r}, its topic of {job_type!r}")
    return event.dedup_id, ClaimedJob(
        id=event.job_id,
        instance_id=event.instance_id,
        job_type=event.job_type,
        step_execution_id=event.step_execution_id,
        retries_remaining=event.retries_remaining,
        variables=_variables(event.job_payload),
        created_at=readable_time(event, "created_at"),
    )


def _variables(payload: bytes) -> dict[str, Any]:
    if not payload:
        return {}
    try:
        return msgspec.json.decode(payload, type=dict[str, Any] | None) or {}
    except UNREADABLE as error:
        raise UndecodableError(f"the job's variables are not a JSON object: {error}") from error
