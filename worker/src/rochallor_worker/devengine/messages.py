"""The dev engine's records as protobuf messages, with the fields empty that the engine leaves empty (engine.md)."""

from typing import cast

import msgspec
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from rochallor_worker.devengine import wire
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import BadRequestError
from rochallor_worker.devengine.records import Dispatch, Instance, InstanceStatus, Job, StepExecution
from rochallor_worker.engine._pb.workflow.v1 import dispatch_pb2
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.grpc.definitions import from_definition, to_definition
from rochallor_worker.engine.grpc.struct import from_struct, to_struct


def received_definition(message: pb.WorkflowDefinition) -> Definition:
    """Return an uploaded definition. Raises `BadRequestError`."""
    try:
        return msgspec.convert(from_definition(message), Definition)
    except (ValueError, msgspec.ValidationError) as error:
        raise BadRequestError(str(error)) from error


def received_variables(struct: Struct) -> wire.Json:
    """Return variables as the engine keeps them. Raises `BadRequestError`."""
    return wire.variables(from_struct(struct))


def received_status(number: pb.InstanceStatus) -> InstanceStatus | None:
    """Return the requested status; None is any. Raises `BadRequestError`."""
    if number == pb.INSTANCE_STATUS_UNSPECIFIED:
        return None
    try:
        return cast("InstanceStatus", pb.InstanceStatus.Name(number).removeprefix("INSTANCE_STATUS_"))
    except ValueError as error:
        raise BadRequestError(f"status {number} does not exist") from error


def definition(record: Definition) -> pb.WorkflowDefinition:
    """Return a definition."""
    return to_definition(msgspec.to_builtins(record))


def outline(record: Definition) -> pb.WorkflowDefinition:
    """Return a definition without its steps, as fenced engines answer it (engine.md: "gRPC")."""
    return pb.WorkflowDefinition(
        id=record.id,
        version=record.version,
        name=record.name,
        description=record.description,
        input_schema=None if record.input_schema is None else to_struct(record.input_schema),
    )


def instance(record: Instance, *without: str) -> pb.WorkflowInstance:
    """Return an instance, except for the fields in `without`."""
    message = pb.WorkflowInstance(
        id=record.id,
        definition_id=record.definition.id,
        definition_version=record.definition.version,
        status=f"INSTANCE_STATUS_{record.status}",
        current_step_ids=record.current_step_ids,
        variables=to_struct(record.variables),
        started_at=time(record.started_at),
        completed_at=None if record.completed_at is None else time(record.completed_at),
        failure_reason=record.failure_reason or "",
        business_key=record.business_key or "",
    )
    for field in without:
        message.ClearField(field)
    return message


def execution(record: StepExecution) -> pb.StepExecution:
    """Return an entry of a history."""
    return pb.StepExecution(
        id=record.id,
        instance_id=record.instance_id,
        step_id=record.step_id,
        step_type=f"STEP_TYPE_{record.step_type}",
        attempt_number=record.attempt,
        status=f"STEP_EXECUTION_STATUS_{record.status}",
        started_at=time(record.started_at),
        ended_at=None if record.ended_at is None else time(record.ended_at),
        failure_reason=record.failure_reason or "",
    )


def job(record: Job, *, with_variables: bool) -> pb.Job:
    """Return a claimed job: `step_id` stays empty, and on engines of generation A `variables` too."""
    return pb.Job(
        id=record.id,
        job_type=record.job_type,
        instance_id=record.instance.id,
        step_execution_id=record.execution.id,
        retries_remaining=record.retries_remaining,
        variables=to_struct(record.variables) if with_variables else None,
        lock_expires_at=time(record.lock_expires_at),
    )


def dispatch_event(record: Dispatch) -> dispatch_pb2.JobDispatchEvent:
    """Return an event as published to Kafka."""
    job = record.job
    return dispatch_pb2.JobDispatchEvent(
        schema_version=1,
        dedup_id=record.dedup_id,
        job_id=job.id,
        instance_id=job.instance.id,
        step_execution_id=job.execution.id,
        job_type=job.job_type,
        retries_remaining=record.retries_remaining,
        job_payload=wire.encode(job.variables),
        created_at=time(record.created_at),
    )


def time(seconds: float) -> Timestamp:
    """Return the time with the same precision as REST."""
    stamp = Timestamp()
    stamp.FromDatetime(wire.moment(seconds))
    return stamp
