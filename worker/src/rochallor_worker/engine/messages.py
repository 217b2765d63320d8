"""The engine's gRPC messages ↔ the typed results that every transport gives."""

from datetime import UTC, datetime
from typing import Any

from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.base import (
    ClaimedJob,
    DefinitionVersion,
    Instance,
    InstanceStatus,
    StepExecution,
)
from rochallor_worker.engine.definitions import STEP_TYPE
from rochallor_worker.engine.struct import from_struct

_INSTANCE_STATUS = "INSTANCE_STATUS_"
_STEP_STATUS = "STEP_EXECUTION_STATUS_"


def status_name(status: InstanceStatus | None) -> str:
    """Return a status as gRPC names it; None is any."""
    return _INSTANCE_STATUS + (status.value if status else "UNSPECIFIED")


def definition_version(message: pb.WorkflowDefinition) -> DefinitionVersion:
    """Return a definition of a listing; gRPC does not say when it was uploaded."""
    return DefinitionVersion(id=message.id, version=message.version, name=message.name)


def instance(message: pb.WorkflowInstance) -> Instance:
    """Return an instance. Raises `ValueError` for a status that there is not."""
    return Instance(
        id=message.id,
        definition_id=message.definition_id,
        definition_version=message.definition_version,
        status=InstanceStatus(pb.InstanceStatus.Name(message.status).removeprefix(_INSTANCE_STATUS)),
        current_step_ids=list(message.current_step_ids),
        variables=from_struct(message.variables),
        started_at=time_of(message, "started_at"),
        completed_at=time_of(message, "completed_at"),
        failure_reason=message.failure_reason,
        business_key=message.business_key,
    )


def step_execution(message: pb.StepExecution) -> StepExecution:
    """Return an entry of a history. Raises `ValueError` for a type or status that there is not."""
    return StepExecution(
        id=message.id,
        instance_id=message.instance_id,
        step_id=message.step_id,
        step_type=pb.StepType.Name(message.step_type).removeprefix(STEP_TYPE),
        attempt_number=message.attempt_number,
        status=pb.StepExecutionStatus.Name(message.status).removeprefix(_STEP_STATUS),
        started_at=time_of(message, "started_at"),
        ended_at=time_of(message, "ended_at"),
        failure_reason=message.failure_reason or None,
    )


def claimed_job(message: pb.Job) -> ClaimedJob:
    """Return a claimed job. Its variables are unknown: the engine leaves them out (engine.md)."""
    return ClaimedJob(
        id=message.id,
        instance_id=message.instance_id,
        job_type=message.job_type,
        step_execution_id=message.step_execution_id,
        retries_remaining=message.retries_remaining,
    )


def time_of(message: Any, field: str) -> datetime | None:
    """Return a message's time, UTC, or None if it has none. Raises `ValueError` for one out of range."""
    if not message.HasField(field):
        return None
    time: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return time
