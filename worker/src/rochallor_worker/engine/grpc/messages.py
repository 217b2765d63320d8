"""The engine's gRPC messages ↔ the typed results of all transports."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Protocol

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from rochallor_worker import ulid
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.client import (
    ClaimedJob,
    DefinitionVersion,
    Instance,
    InstanceStatus,
    StepExecution,
)
from rochallor_worker.engine.grpc.definitions import STEP_TYPE
from rochallor_worker.engine.grpc.struct import from_struct

_INSTANCE_STATUS = "INSTANCE_STATUS_"
_STEP_STATUS = "STEP_EXECUTION_STATUS_"
_LENGTH_DELIMITED = 2
"""The wire type of a nested message."""


def status_name(status: InstanceStatus | None) -> str:
    """Return gRPC's name of a status; None means any."""
    return _INSTANCE_STATUS + (status.value if status else "UNSPECIFIED")


def definition_version(message: pb.WorkflowDefinition) -> DefinitionVersion:
    """Return a definition of a listing; gRPC has no time of upload."""
    return DefinitionVersion(id=message.id, version=message.version, name=message.name)


def instance(message: pb.WorkflowInstance) -> Instance:
    """Return an instance. Raises `ValueError` if the message is empty."""
    if not message.id:
        raise ValueError("it has no instance id")
    return Instance(
        id=message.id,
        definition_id=message.definition_id,
        definition_version=message.definition_version,
        status=_name(pb.InstanceStatus, message.status, _INSTANCE_STATUS),
        current_step_ids=list(message.current_step_ids),
        variables=from_struct(message.variables),
        started_at=time_of(message, "started_at"),
        completed_at=time_of(message, "completed_at"),
        failure_reason=message.failure_reason,
        business_key=message.business_key,
    )


def step_execution(message: pb.StepExecution) -> StepExecution:
    """Return an entry of a history."""
    return StepExecution(
        id=message.id,
        instance_id=message.instance_id,
        step_id=message.step_id,
        step_type=_name(pb.StepType, message.step_type, STEP_TYPE),
        attempt_number=message.attempt_number,
        status=_name(pb.StepExecutionStatus, message.status, _STEP_STATUS),
        started_at=time_of(message, "started_at"),
        ended_at=time_of(message, "ended_at"),
        failure_reason=message.failure_reason or None,
    )


def jobs(answer: bytes) -> Collection[pb.Job | bytes]:
    """Return the jobs in the answer to a poll; if one of them cannot be parsed, return all of them as bytes.

    Raises `DecodeError` if it is no answer to a poll.
    """
    try:
        return pb.PollJobsResponse.FromString(answer).jobs
    except DecodeError:
        unknown = UnknownFieldSet(Empty.FromString(answer))
        fields = [unknown[index] for index in range(len(unknown))]
        jobs_field = (pb.PollJobsResponse.JOBS_FIELD_NUMBER, _LENGTH_DELIMITED)
        return [field.data for field in fields if (field.field_number, field.wire_type) == jobs_field]


def claimed_job(sent: pb.Job | bytes) -> ClaimedJob:
    """Return a claimed job; its variables are None if the engine leaves them out (engine.md: before late B).

    Raises `ValueError` if it cannot be read.
    """
    try:
        message = pb.Job.FromString(sent) if isinstance(sent, bytes) else sent
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return ClaimedJob(
        id=message.id,
        instance_id=message.instance_id,
        job_type=message.job_type,
        step_execution_id=message.step_execution_id,
        retries_remaining=message.retries_remaining,
        variables=from_struct(message.variables) if message.HasField("variables") else None,
        created_at=ulid.time_of(message.id),
        lock_expires_at=readable_time(message, "lock_expires_at"),
    )


def lease_end(message: pb.ExtendJobLeaseResponse) -> datetime:
    """Return when a renewed lease ends. Raises `ValueError` if the answer renews none."""
    end = time_of(message, "lock_expires_at")
    if not message.accepted or end is None:
        raise ValueError("it neither renews nor refuses the lease")
    return end


def time_of(message: Any, field: str) -> datetime | None:
    """Return a message's time in UTC, or None if it has none. Raises `ValueError` if it is out of range."""
    if not message.HasField(field):
        return None
    time: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return time


def readable_time(message: Any, field: str) -> datetime | None:
    """Return a job's time, or None where it has none that can be read: that must not cost the job."""
    try:
        return time_of(message, field)
    except (ValueError, OverflowError):
        return None


class _Enum(Protocol):
    def Name(self, number: int, /) -> str: ...  # noqa: N802 — protobuf's


def _name(enum: _Enum, number: int, prefix: str) -> str:
    """Return REST's name of an enum value; one that this client does not know becomes its number."""
    try:
        return enum.Name(number).removeprefix(prefix)
    except ValueError:
        return str(number)
