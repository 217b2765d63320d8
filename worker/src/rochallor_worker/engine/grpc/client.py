"""The engine over gRPC (engine.md: service `workflow.v1.WorkflowEngine`)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Error as MessageError

from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.answers import readable
from rochallor_worker.engine.client import (
    ClaimedJob,
    Connection,
    DefinitionVersion,
    Instance,
    InstanceStatus,
    Page,
    StepExecution,
)
from rochallor_worker.engine.credentials import Credentials, Rotating
from rochallor_worker.engine.grpc import messages
from rochallor_worker.engine.grpc.channel import Channel, connect
from rochallor_worker.engine.grpc.definitions import from_definition, to_definition
from rochallor_worker.engine.grpc.refusals import refusal
from rochallor_worker.engine.grpc.struct import to_struct
from rochallor_worker.engine.proxies import proxy_of
from rochallor_worker.errors import AnswerLost, Rejected, Unreachable, Unreadable
from rochallor_worker.traces import traceparent

MAX_AGE_SECONDS = 45.0
"""A channel is replaced at this age: a live connection does not resolve its address again, so an engine that has moved,
or a new replica, would never be called."""

T = TypeVar("T")


class GrpcClient:
    """`EngineClient` over gRPC. Use it as an async context manager, or call `aclose()`.

    `target` is a host and port, such as `engine:9090`; the channel uses TLS if the connection has a CA or a client
    certificate, or if the target begins with `https://`. `timeout` limits each call, in seconds, on top of the
    wait for an access token. Raises `StartError`
    if the connection's files cannot be used.

    gRPC does not carry: a claimed job's variables on older engines, when its lease began, a listed definition's time
    of upload, and variables of more than about 30 levels (sending them is `Rejected`, reading those that REST wrote is
    `Unreadable`).
    """

    def __init__(self, target: str, connection: Connection | None = None, *, timeout: float = 10.0) -> None:
        scheme, _, rest = target.rpartition("://")
        self._target = rest.rstrip("/") if scheme in {"http", "https"} else target
        self._secure = scheme == "https"
        self._timeout = timeout
        self._credentials = Credentials(connection or Connection())
        over_tls = self._secure or self._credentials.tls is not None
        self._proxy = proxy_of(f"https://{self._target}") if over_tls else None
        self._channels = Rotating(self._credentials, self._connect, Channel.aclose, MAX_AGE_SECONDS)

    async def upload_definition(self, definition: Mapping[str, Any]) -> DefinitionVersion:
        try:
            message = to_definition(definition)
        except (TypeError, ValueError, RecursionError) as error:
            raise Rejected(f"UploadDefinition: not a definition: {error}") from error

        def read(answer: pb.UploadDefinitionResponse) -> DefinitionVersion:
            uploaded_at = messages.time_of(answer, "uploaded_at")
            return DefinitionVersion(id=answer.id, version=answer.version, name=message.name, uploaded_at=uploaded_at)

        return await self._call("UploadDefinition", read, definition=message)

    async def get_definition(self, definition_id: str, version: int | None = None) -> dict[str, Any]:
        return await self._call(
            "GetDefinition",
            lambda answer: from_definition(answer.definition),
            id=definition_id,
            version=version or 0,
        )

    async def list_definitions(
        self, *, keyword: str = "", page: int = 0, page_size: int = 20
    ) -> Page[DefinitionVersion]:
        return await self._call(
            "ListDefinitions",
            lambda answer: Page([messages.definition_version(found) for found in answer.definitions], answer.total),
            keyword=keyword,
            page=page,
            page_size=page_size,
        )

    async def start_instance(
        self,
        definition_id: str,
        variables: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        business_key: str = "",
    ) -> Instance:
        return await self._call(
            "StartInstance",
            _instance,
            definition_id=definition_id,
            definition_version=version or 0,
            variables=variables or {},
            business_key=business_key,
        )

    async def get_instance(self, instance_id: str) -> Instance:
        return await self._call("GetInstance", _instance, id=instance_id)

    async def list_instances(
        self,
        *,
        definition_id: str = "",
        status: InstanceStatus | None = None,
        business_key: str = "",
        page: int = 0,
        page_size: int = 20,
    ) -> Page[Instance]:
        return await self._call(
            "ListInstances",
            lambda answer: Page([messages.instance(found) for found in answer.instances], answer.total),
            definition_id=definition_id,
            status=messages.status_name(status),
            business_key=business_key,
            page=page,
            page_size=page_size,
        )

    async def get_instance_history(self, instance_id: str) -> list[StepExecution]:
        return await self._call(
            "GetInstanceHistory",
            lambda answer: [messages.step_execution(entry) for entry in answer.executions],
            id=instance_id,
        )

    async def cancel_instance(self, instance_id: str, *, reason: str = "") -> Instance:
        return await self._call("CancelInstance", _instance, id=instance_id, reason=reason)

    async def retry_step(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> Instance:
        return await self._call(
            "RetryStep", _instance, instance_id=instance_id, step_id=step_id, variables=variables or {}
        )

    async def poll_jobs(
        self, worker_id: str, job_types: Sequence[str], max_jobs: int, lease: float | None = None
    ) -> list[ClaimedJob]:
        return await self._call(
            "PollJobs",
            lambda jobs: readable(jobs, messages.claimed_job),
            parse=messages.jobs,
            worker_id=worker_id,
            job_types=job_types,
            max_jobs=max_jobs,
            lease_seconds=int(lease or 0),  # 0 is not sent
        )

    async def complete_job(self, job_id: str, worker_id: str, variables: Mapping[str, Any]) -> None:
        await self._call("CompleteJob", _nothing, job_id=job_id, worker_id=worker_id, variables_to_set=variables)

    async def fail_job(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        await self._call(
            "FailJob", _nothing, job_id=job_id, worker_id=worker_id, error_message=message, retryable=retryable
        )

    async def extend_lease(self, job_id: str, worker_id: str, lease: float) -> datetime:
        return await self._call(
            "ExtendJobLease", messages.lease_end, job_id=job_id, worker_id=worker_id, lease_seconds=int(lease)
        )

    async def complete_user_task(
        self, instance_id: str, step_id: str, *, completed_by: str = "", variables: Mapping[str, Any] | None = None
    ) -> None:
        await self._call(
            "CompleteUserTask",
            _nothing,
            instance_id=instance_id,
            user_task_step_id=step_id,
            completed_by=completed_by,
            result=variables or {},
        )

    async def signal_wait(self, instance_id: str, step_id: str, variables: Mapping[str, Any] | None = None) -> None:
        await self._call(
            "SignalWait", _nothing, instance_id=instance_id, wait_step_id=step_id, variables=variables or {}
        )

    async def aclose(self) -> None:
        await self._credentials.aclose()
        await self._channels.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _call(
        self, name: str, read: Callable[[Any], T], parse: Callable[[bytes], Any] | None = None, **fields: Any
    ) -> T:
        """Send the fields (mappings become Structs) and read the answer; everything else becomes an `EngineError`.

        `read` receives the answer as `parse` returns it, by default the method's response.
        """
        try:
            sent = {field: to_struct(value) if isinstance(value, Mapping) else value for field, value in fields.items()}
            request = getattr(pb, f"{name}Request")(**sent).SerializeToString()
        except (TypeError, ValueError, OverflowError, MessageError, RecursionError) as error:
            raise Rejected(f"{name}: the request cannot be sent: {error}") from error
        answer = await self._answer(name, request)
        try:
            return read((parse or getattr(pb, f"{name}Response").FromString)(answer))
        except (MessageError, TypeError, ValueError, OverflowError, RecursionError) as error:  # None: OK, no message
            raise Unreadable(f"{name}: the answer cannot be read: {error}") from error

    async def _answer(self, name: str, request: bytes, *, again: bool = True) -> bytes:
        """Send a request and return the answer; `again` if an access token was refused and there is another one."""
        with self._channels.current() as channel:
            try:
                headers = await self._credentials.to_send()
            except Unreachable as error:
                raise type(error)(f"{name}: {error}") from None
            if parent := traceparent():
                headers = {**headers, "traceparent": parent}
            # gRPC takes bytes where the name ends like this
            metadata = tuple(
                (name, value.encode() if name.endswith("-bin") else value) for name, value in headers.items()
            )
            try:
                return await channel.method(name)(request, timeout=self._timeout, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                code = error.code()
                if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    self._channels.distrust(channel)
                details = self._credentials.redact(error.details() or "", headers)
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                raise AnswerLost(f"{name}: the client was closed") from None
        if code is grpc.StatusCode.UNAUTHENTICATED and again and await self._credentials.replaced(headers):
            return await self._answer(name, request, again=False)  # the engine has not seen it
        # without grpc's error, whose traceback would show the answer unredacted
        raise refusal(name, self._target, code, details)

    def _connect(self) -> Channel:
        return connect(
            self._target, self._credentials.tls, secure=self._secure, timeout=self._timeout, proxy=self._proxy
        )


def _instance(answer: Any) -> Instance:
    return messages.instance(answer.instance)


def _nothing(_answer: object) -> None:
    return None
