"""The engine without a network: an `EngineClient` of the dev engine's state, for tests of workers."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from rochallor_worker.devengine import records, wire
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import (
    BadRequestError,
    CallError,
    ConflictError,
    NotFoundError,
    NotSupportedError,
    PollingOffError,
    SchemaViolationError,
    TakenError,
)
from rochallor_worker.devengine.faults import AnswerDropped, Faults
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.engine.client import (
    ClaimedJob,
    DefinitionVersion,
    Instance,
    InstanceStatus,
    Page,
    StepExecution,
)
from rochallor_worker.engine.rest.client import encode
from rochallor_worker.errors import (
    AnswerLost,
    Conflict,
    DispatchMismatch,
    EngineError,
    InternalError,
    NotFound,
    NotSupported,
    Rejected,
    SchemaViolation,
)

T = TypeVar("T")

_KINDS: dict[type[CallError], type[EngineError]] = {
    BadRequestError: Rejected,
    NotFoundError: NotFound,
    NotSupportedError: NotSupported,
    ConflictError: Conflict,
    TakenError: Conflict,
    SchemaViolationError: SchemaViolation,
    PollingOffError: DispatchMismatch,
}
_UNKNOWN = ("not found", "no rows in result set")


class FakeEngine:
    """`EngineClient` of an `EngineState` in this process, with the same faults as over a network.

    Override `call` to observe or change calls.
    """

    def __init__(self, state: EngineState | None = None) -> None:
        self.state = state or EngineState()
        self.faults = Faults()

    async def call(self, name: str, action: Callable[[], T]) -> T:
        """Execute one call; `name` is the method's. Raises `EngineError`."""
        try:
            return await self.faults.carry_out(name, lambda: self._answer(action))
        except AnswerDropped as error:
            raise AnswerLost(f"{name}: the answer was dropped") from error
        except CallError as error:
            raise _translated(name, error) from error

    def _answer(self, action: Callable[[], T]) -> T:
        self.state.replica().fire()  # there is no timer task here
        return action()

    async def upload_definition(self, definition: Mapping[str, Any]) -> DefinitionVersion:
        body = encode("upload_definition", definition)
        return await self.call(
            "upload_definition",
            lambda: _version(*self.state.definitions.upload(wire.decode_definition(body), self.state.generation)),
        )

    async def get_definition(self, definition_id: str, version: int | None = None) -> dict[str, Any]:
        def action() -> dict[str, Any]:
            found: dict[str, Any] = msgspec.to_builtins(self.state.definitions.get(definition_id, version or 0))
            return found

        return await self.call("get_definition", action)

    async def list_definitions(
        self, *, keyword: str = "", page: int = 0, page_size: int = 20
    ) -> Page[DefinitionVersion]:
        def action() -> Page[DefinitionVersion]:
            wire.check_page(page)
            size = wire.page_size(page_size)
            found, total = self.state.definitions.list(keyword=keyword, page=page, page_size=size)
            return Page([_version(*entry) for entry in found], total)

        return await self.call("list_definitions", action)

    async def start_instance(
        self,
        definition_id: str,
        variables: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        business_key: str = "",
    ) -> Instance:
        sent = _sent("start_instance", variables)
        return await self.call(
            "start_instance",
            lambda: msgspec.structs.replace(
                _instance(self.state.start(definition_id, version or 0, sent, business_key)),
                completed_at=None,
                failure_reason="",
            ),
        )

    async def get_instance(self, instance_id: str) -> Instance:
        return await self.call("get_instance", lambda: _instance(self.state.instance(instance_id)))

    async def list_instances(
        self,
        *,
        definition_id: str = "",
        status: InstanceStatus | None = None,
        business_key: str = "",
        page: int = 0,
        page_size: int = 20,
    ) -> Page[Instance]:
        def action() -> Page[Instance]:
            wire.check_page(page, "list instances: rows: ")
            found, total = self.state.list_instances(
                definition_id=definition_id,
                status=status.value if status else "",
                business_key=business_key,
                page=page,
                page_size=wire.page_size(page_size),
            )
            return Page([_instance(record) for record in found], total)

        return await self.call("list_instances", action)

    async def get_instance_history(self, instance_id: str) -> list[StepExecution]:
        def action() -> list[StepExecution]:
            instance = self.state.instances.get(instance_id)
            return [_execution(record) for record in instance.history] if instance else []

        return await self.call("get_instance_history", action)

    async def cancel_instance(self, instance_id: str, *, reason: str = "") -> Instance:
        return await self.call(
            "cancel_instance",
            lambda: msgspec.structs.replace(
                _instance(self.state.cancel(instance_id, reason)), completed_at=None, business_key=""
            ),
        )

    async def retry_step(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> Instance:
        sent = _sent("retry_step", variables)
        return await self.call("retry_step", lambda: _instance(self.state.retry_step(instance_id, step_id, sent)))

    async def poll_jobs(
        self, worker_id: str, job_types: Sequence[str], max_jobs: int, lease: float | None = None
    ) -> list[ClaimedJob]:
        seconds = int(lease or 0)
        return await self.call(
            "poll_jobs", lambda: [_job(record) for record in self.state.poll(worker_id, job_types, max_jobs, seconds)]
        )

    async def complete_job(self, job_id: str, worker_id: str, variables: Mapping[str, Any]) -> None:
        sent = _sent("complete_job", variables)
        await self.call("complete_job", lambda: self.state.completing(job_id, worker_id, sent))

    async def fail_job(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        await self.call("fail_job", lambda: self.state.fail(job_id, worker_id, message, retryable=retryable))

    async def extend_lease(self, job_id: str, worker_id: str, lease: float) -> datetime:
        return await self.call(
            "extend_lease", lambda: _time(self.state.extend_lease(job_id, worker_id, int(lease)).lock_expires_at)
        )

    async def complete_user_task(
        self, instance_id: str, step_id: str, *, completed_by: str = "", variables: Mapping[str, Any] | None = None
    ) -> None:
        sent = _sent("complete_user_task", variables)
        await self.call("complete_user_task", lambda: self.state.complete_user_task(instance_id, step_id, sent))

    async def signal_wait(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> None:
        sent = _sent("signal_wait", variables)
        await self.call("signal_wait", lambda: self.state.signal_wait(instance_id, step_id, sent))

    def advance(self, seconds: float) -> None:
        """Advance the engine's clock at once: timers fire in order, and leases end."""
        self.state.advance(seconds)

    async def aclose(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _sent(name: str, variables: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return variables as they would arrive over a transport. Raises `Rejected` if they are not JSON."""
    try:
        return wire.variables(msgspec.json.decode(encode(name, variables or {})))
    except BadRequestError as error:
        raise _translated(name, error) from error


def _translated(name: str, error: CallError) -> EngineError:
    kind = _KINDS.get(type(error), InternalError)
    # as over REST, where only the text distinguishes an unknown job from other problems (engine.md: "Errors")
    if kind is InternalError and any(sign in str(error) for sign in _UNKNOWN):
        kind = NotFound
    return kind(f"{name}: {error}")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _version(definition: Definition, uploaded_at: float) -> DefinitionVersion:
    return DefinitionVersion(
        id=definition.id, version=definition.version, name=definition.name, uploaded_at=_time(uploaded_at)
    )


def _instance(record: records.Instance) -> Instance:
    return Instance(
        id=record.id,
        definition_id=record.definition.id,
        definition_version=record.definition.version,
        status=InstanceStatus(record.status),
        current_step_ids=list(record.current_step_ids),
        variables=dict(record.variables),
        started_at=_time(record.started_at),
        completed_at=None if record.completed_at is None else _time(record.completed_at),
        failure_reason=record.failure_reason or "",
        business_key=record.business_key or "",
    )


def _execution(record: records.StepExecution) -> StepExecution:
    return StepExecution(
        id=record.id,
        instance_id=record.instance_id,
        step_id=record.step_id,
        step_type=record.step_type,
        attempt_number=record.attempt,
        status=record.status,
        started_at=_time(record.started_at),
        ended_at=None if record.ended_at is None else _time(record.ended_at),
        failure_reason=record.failure_reason,
    )


def _job(record: records.Job) -> ClaimedJob:
    return ClaimedJob(
        id=record.id,
        instance_id=record.instance.id,
        job_type=record.job_type,
        step_execution_id=record.execution.id,
        retries_remaining=record.retries_remaining,
        variables=dict(record.variables),
        created_at=_time(record.created_at),
        locked_at=_time(record.locked_at),
        lock_expires_at=_time(record.lock_expires_at),
    )
