"""The JSON of the engine's REST interface: request bodies in, records out (engine.md)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar

import msgspec

from rochallor_worker.devengine import gojson
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import BadRequestError, InternalError
from rochallor_worker.devengine.gojson import through_float64
from rochallor_worker.devengine.records import Instance, Job, StepExecution

T = TypeVar("T")
Json = dict[str, Any]

PAGE_SIZE, MAX_PAGE_SIZE = 20, 200

encode = msgspec.json.Encoder().encode


class Request(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of a request. With unknown keys msgspec refuses it, and `gojson` reads it without them."""

    strict: ClassVar[bool] = False


class StartRequest(Request):
    """POST /v1/instances."""

    go_name: ClassVar[str] = "rest.startRequest"
    definition_id: str = ""
    definition_version: int = 0
    variables: Json | None = None
    business_key: str = ""


class CancelRequest(Request):
    """POST /v1/instances/{id}/cancel."""

    go_name: ClassVar[str] = "rest.cancelRequest"
    reason: str = ""


class RetryStepRequest(Request):
    """POST /v1/instances/{id}/steps/{step}/retry."""

    go_name: ClassVar[str] = "rest.retryStepRequest"
    variables: Json | None = None


class PollRequest(Request):
    """POST /v1/jobs/poll."""

    go_name: ClassVar[str] = "rest.pollRequest"
    worker_id: str = ""
    job_types: list[str] | None = None
    max_jobs: int = 0
    lease_seconds: int = 0


class CompleteRequest(Request):
    """POST /v1/jobs/{id}/complete."""

    go_name: ClassVar[str] = "rest.completeRequest"
    worker_id: str = ""
    variables: Json | None = None


class FailRequest(Request):
    """POST /v1/jobs/{id}/fail."""

    go_name: ClassVar[str] = "rest.failRequest"
    worker_id: str = ""
    error_message: str = ""
    retryable: bool = False


class HeartbeatRequest(Request):
    """POST /v1/jobs/{id}/heartbeat."""

    go_name: ClassVar[str] = "rest.heartbeatRequest"
    worker_id: str = ""
    lease_seconds: int = 0


class CompleteUserTaskRequest(Request):
    """POST /v1/instances/{id}/user-tasks/{step}/complete."""

    go_name: ClassVar[str] = "rest.completeUserTaskRequest"
    completed_by: str = ""
    variables: Json | None = None


def decode(body: bytes, kind: type[T]) -> T:
    """Read a request body. Raises `BadRequestError`."""
    try:
        return gojson.decode(body, kind)
    except gojson.GoError as error:
        raise BadRequestError(f"invalid request body: {error}") from error


def decode_definition(body: bytes) -> Definition:
    """Read an uploaded definition. Raises `BadRequestError`."""
    try:
        return gojson.decode(body, Definition)
    except gojson.GoError as error:
        raise BadRequestError(f"parse error: parse: {error}") from error


def variables(sent: Mapping[str, Any] | None) -> Json:
    """Return variables as the engine keeps them: their numbers pass through float64."""
    try:
        return {name: through_float64(value) for name, value in (sent or {}).items()}
    except (OverflowError, RecursionError) as error:
        raise BadRequestError(f"invalid request body: {error}") from error


def page_size(asked: int) -> int:
    """Return the size of a page: an invalid one means the default."""
    return asked if 1 <= asked <= MAX_PAGE_SIZE else PAGE_SIZE


def check_page(page: int, where: str = "") -> None:
    """Raise `InternalError` for a negative page, as PostgreSQL does; `where` is the engine's prefix for the call."""
    if page < 0:
        raise InternalError(f"{where}ERROR: OFFSET must not be negative (SQLSTATE 2201X)")


def definition_json(definition: Definition, uploaded_at: float) -> Json:
    """Return a definition as uploads and listings answer it."""
    return {
        "id": definition.id,
        "version": definition.version,
        "name": definition.name,
        "uploadedAt": moment(uploaded_at),
    }


def instance_json(instance: Instance) -> Json:
    """Return an instance; missing fields are left out."""
    fields: Json = {
        "id": instance.id,
        "definitionId": instance.definition.id,
        "definitionVersion": instance.definition.version,
        "status": instance.status,
        "currentStepIds": instance.current_step_ids,
        "variables": instance.variables,
        "startedAt": moment(instance.started_at),
    }
    if instance.completed_at is not None:
        fields["completedAt"] = moment(instance.completed_at)
    if instance.failure_reason is not None:
        fields["failureReason"] = instance.failure_reason
    if instance.business_key is not None:
        fields["businessKey"] = instance.business_key
    return fields


def without(fields: Json, *names: str) -> Json:
    """Return fields without those that an answer lacks though the record has them."""
    return {name: value for name, value in fields.items() if name not in names}


def job_json(job: Job) -> Json:
    """Return a claimed job; there is no stepId."""
    return {
        "id": job.id,
        "instanceId": job.instance.id,
        "stepExecutionId": job.execution.id,
        "jobType": job.job_type,
        "status": job.status,
        "workerId": job.worker_id,
        "lockedAt": moment(job.locked_at),
        "lockExpiresAt": moment(job.lock_expires_at),
        "retriesRemaining": job.retries_remaining,
        "variables": job.variables,
        "createdAt": moment(job.created_at),
    }


def execution_json(execution: StepExecution) -> Json:
    """Return an entry of a history: PascalCase, null for missing values. Snapshots are always null."""
    return {
        "ID": execution.id,
        "InstanceID": execution.instance_id,
        "StepID": execution.step_id,
        "StepType": execution.step_type,
        "AttemptNumber": execution.attempt,
        "Status": execution.status,
        "StartedAt": moment(execution.started_at),
        "EndedAt": None if execution.ended_at is None else moment(execution.ended_at),
        "InputSnapshot": None,
        "OutputSnapshot": None,
        "FailureReason": execution.failure_reason,
    }


def moment(seconds: float) -> datetime:
    """Return the time; it is encoded as RFC 3339 UTC with six fractional digits or none."""
    return datetime.fromtimestamp(seconds, UTC)
