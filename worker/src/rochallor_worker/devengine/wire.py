"""JSON of the engine's REST interface: request bodies in, records out (engine.md)."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import BadRequestError
from rochallor_worker.devengine.records import Instance, Job, StepExecution

T = TypeVar("T")
Json = dict[str, Any]

MAX_PAGE_SIZE = 200

encode = msgspec.json.Encoder().encode


class StartRequest(msgspec.Struct, rename="camel"):
    """POST /v1/instances."""

    definition_id: str = ""
    definition_version: int | None = None
    variables: Json | None = None
    business_key: str | None = None


class CancelRequest(msgspec.Struct):
    """POST /v1/instances/{id}/cancel."""

    reason: str = ""


class PollRequest(msgspec.Struct, rename="camel"):
    """POST /v1/jobs/poll."""

    worker_id: str = ""
    job_types: list[str] | None = None
    max_jobs: int = 0


class CompleteRequest(msgspec.Struct, rename="camel"):
    """POST /v1/jobs/{id}/complete."""

    worker_id: str = ""
    variables: Json | None = None


class FailRequest(msgspec.Struct, rename="camel"):
    """POST /v1/jobs/{id}/fail."""

    worker_id: str = ""
    error_message: str = ""
    retryable: bool = False


class CompleteUserTaskRequest(msgspec.Struct, rename="camel"):
    """POST /v1/instances/{id}/user-tasks/{step}/complete."""

    completed_by: str | None = None
    variables: Json | None = None


def decode(body: bytes, kind: type[T]) -> T:
    """Read a request body; raise `BadRequestError` if it is not JSON of that kind. Unknown fields are ignored."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"invalid request body: {error}") from error


def variables(sent: Json | None) -> Json:
    """Return variables as the engine keeps them: their numbers pass through float64."""
    try:
        return {name: _as_float64(value) for name, value in (sent or {}).items()}
    except (OverflowError, RecursionError) as error:
        raise BadRequestError(f"invalid request body: {error}") from error


def _as_float64(value: Any) -> Any:
    """Pass a JSON value's numbers through float64; whole ones below 10^21 are written as integers again."""
    if isinstance(value, str | bool | None):
        return value
    if isinstance(value, int | float):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 1e21 else number
    if isinstance(value, list):
        return [_as_float64(item) for item in value]
    return {name: _as_float64(item) for name, item in value.items()}


def check_page(page: int, page_size: int) -> None:
    """Raise `BadRequestError` for a page that cannot be asked for."""
    if page < 0:
        raise BadRequestError(f"page must not be negative, is {page}")
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise BadRequestError(f"pageSize must be 1–{MAX_PAGE_SIZE}, is {page_size}")


def definition_json(definition: Definition, uploaded_at: float) -> Json:
    """Return what an upload answers and a listing holds."""
    return {
        "id": definition.id,
        "version": definition.version,
        "name": definition.name,
        "uploadedAt": moment(uploaded_at),
    }


def instance_json(instance: Instance) -> Json:
    """Return an instance; what it lacks is left out."""
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


def job_json(job: Job) -> Json:
    """Return a claimed job. `variables` is left out when there is none, as clients must expect; there is no stepId."""
    fields: Json = {
        "id": job.id,
        "instanceId": job.instance.id,
        "stepExecutionId": job.execution.id,
        "jobType": job.job_type,
        "status": job.status,
        "workerId": job.worker_id,
        "lockedAt": moment(job.locked_at),
        "lockExpiresAt": moment(job.lock_expires_at),
        "retriesRemaining": job.retries_remaining,
        "createdAt": moment(job.created_at),
    }
    if job.variables:
        fields["variables"] = job.variables
    return fields


def execution_json(execution: StepExecution) -> Json:
    """Return an entry of a history: PascalCase, and null for what there is not. Snapshots are never given."""
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
    """Return the moment, which is encoded as RFC 3339 UTC with six fractional digits or none."""
    return datetime.fromtimestamp(seconds, UTC)
