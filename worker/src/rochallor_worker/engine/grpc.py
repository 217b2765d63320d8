"""The engine over gRPC (engine.md: service `workflow.v1.WorkflowEngine`)."""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Error as MessageError

from rochallor_worker.engine import messages
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.base import (
    MAX_ANSWER_BYTES,
    ClaimedJob,
    Connection,
    DefinitionVersion,
    Instance,
    InstanceStatus,
    Page,
    StepExecution,
)
from rochallor_worker.engine.claims import readable
from rochallor_worker.engine.credentials import Credentials, Renewed
from rochallor_worker.engine.definitions import from_definition, to_definition
from rochallor_worker.engine.grpc_refusals import refusal
from rochallor_worker.engine.struct import to_struct
from rochallor_worker.errors import AnswerLost, Rejected, Unreadable

SERVICE = "workflow.v1.WorkflowEngine"
CONNECT_SECONDS = 5.0
"""Most time for one attempt to connect."""

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_send_message_length", -1),  # the server says what it takes, by default 4 MiB
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # the engine's return is noticed soon
    # Go servers close connections that ping more often than every five minutes; what this sets too is how long sent
    # data may go unacknowledged by a peer that vanished: the timeout
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.use_local_subchannel_pool", 1),  # a channel made for new certificates connects with those
]

T = TypeVar("T")


class _Call(Protocol):
    """One method of a channel."""

    def __call__(
        self, request: bytes, *, timeout: float, metadata: tuple[tuple[str, str | bytes], ...]
    ) -> "grpc.aio.UnaryUnaryCall[bytes, bytes]": ...


class _Channel:
    """A channel and its methods, which take and give bytes: grpc would only log what cannot be read."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.close = channel.close
        self._channel = channel
        self._methods: dict[str, _Call] = {}

    def method(self, name: str) -> _Call:
        try:
            return self._methods[name]
        except KeyError:
            return self._methods.setdefault(name, self._channel.unary_unary(f"/{SERVICE}/{name}"))


class GrpcClient:
    """`EngineClient` over gRPC. Use it as an async context manager, or call `aclose()`.

    `target` is a host and port, such as `engine:9090`; the channel uses TLS if the connection has a CA or a client
    certificate, or if the target begins with `https://`. `timeout` bounds each call, in seconds. Raises `StartError`
    if the connection's files cannot be used.

    What gRPC does not carry: a claimed job's variables, a listed definition's time of upload, and variables of more
    than some 30 levels (sending them is `Rejected`, reading what REST wrote is `Unreadable`).
    """

    def __init__(self, target: str, connection: Connection | None = None, *, timeout: float = 10.0) -> None:
        scheme, _, rest = target.rpartition("://")
        self._target = rest.rstrip("/") if scheme in {"http", "https"} else target
        self._secure = scheme == "https"
        self._timeout = timeout
        # despite its name it is the time that one attempt to connect has: less than a call, which can thus tell that
        # it was never sent
        self._options = [*_OPTIONS, ("grpc.min_reconnect_backoff_ms", int(min(timeout / 2, CONNECT_SECONDS) * 1000))]
        self._credentials = Credentials(connection or Connection())
        self._channels = Renewed(self._credentials, self._connect, _close)

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

    async def poll_jobs(self, worker_id: str, job_types: Sequence[str], max_jobs: int) -> list[ClaimedJob]:
        return await self._call(
            "PollJobs",
            lambda answer: readable(answer.jobs, messages.claimed_job),
            worker_id=worker_id,
            job_types=job_types,
            max_jobs=max_jobs,
        )

    async def complete_job(self, job_id: str, worker_id: str, variables: Mapping[str, Any]) -> None:
        await self._call("CompleteJob", _nothing, job_id=job_id, worker_id=worker_id, variables_to_set=variables)

    async def fail_job(self, job_id: str, worker_id: str, message: str, *, retryable: bool) -> None:
        await self._call(
            "FailJob", _nothing, job_id=job_id, worker_id=worker_id, error_message=message, retryable=retryable
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
        await self._channels.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _call(self, name: str, read: Callable[[Any], T], **fields: Any) -> T:
        """Send the fields (mappings become Structs) and read the answer; everything else becomes an `EngineError`."""
        try:
            sent = {field: to_struct(value) if isinstance(value, Mapping) else value for field, value in fields.items()}
            request = getattr(pb, f"{name}Request")(**sent).SerializeToString()
        except (TypeError, ValueError, OverflowError, MessageError, RecursionError) as error:
            raise Rejected(f"{name}: the request cannot be sent: {error}") from error
        with self._channels.current() as channel:
            # a value is bytes to gRPC where the name ends so
            metadata = tuple(
                (name, value.encode() if name.endswith("-bin") else value)
                for name, value in self._credentials.headers.items()
            )
            try:
                answer = await channel.method(name)(request, timeout=self._timeout, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                details = self._credentials.redact(error.details() or "")
                # without grpc's error, whose text in a traceback would be the answer as it came
                raise refusal(name, self._target, error.code(), details) from None
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                raise AnswerLost(f"{name}: the client was closed") from None
        try:
            return read(getattr(pb, f"{name}Response").FromString(answer))
        except (MessageError, TypeError, ValueError, OverflowError, RecursionError) as error:  # None: an OK of nothing
            raise Unreadable(f"{name}: the answer cannot be read: {error}") from error

    def _connect(self) -> _Channel:
        tls = self._credentials.tls
        if tls is None and not self._secure:
            return _Channel(grpc.aio.insecure_channel(self._target, options=self._options))
        ca, cert, key = (tls.ca, tls.cert, tls.key) if tls else (None, None, None)
        return _Channel(
            grpc.aio.secure_channel(
                self._target, grpc.ssl_channel_credentials(ca or _system_ca(), key, cert), options=self._options
            )
        )


def _system_ca() -> bytes | None:
    """Return the system's CAs as REST uses them; None leaves gRPC to those it brings along."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None


def _instance(answer: Any) -> Instance:
    return messages.instance(answer.instance)


def _nothing(_answer: object) -> None:
    return None


async def _close(channel: _Channel) -> None:
    await channel.close()
