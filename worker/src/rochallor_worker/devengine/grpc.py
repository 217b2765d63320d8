"""The dev engine over gRPC: service `workflow.v1.WorkflowEngine` as engine.md gives it, with what it leaves empty.

Messages of more than 4 MiB are refused: that is gRPC's default, which the engine keeps.
"""

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio

from rochallor_worker.devengine import messages, wire
from rochallor_worker.devengine.errors import (
    BadRequestError,
    CallError,
    ConflictError,
    EndedError,
    InternalError,
    NotFoundError,
    PollingOffError,
)
from rochallor_worker.devengine.faults import AnswerDropped, CallName, Faults
from rochallor_worker.devengine.gateway import Gateway
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb

SERVICE = "workflow.v1.WorkflowEngine"

_CODES: dict[type[CallError], grpc.StatusCode] = {
    BadRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    ConflictError: grpc.StatusCode.FAILED_PRECONDITION,
    EndedError: grpc.StatusCode.FAILED_PRECONDITION,
    PollingOffError: grpc.StatusCode.FAILED_PRECONDITION,
    InternalError: grpc.StatusCode.INTERNAL,
}

Action = Callable[[EngineState, Any], Any]
"""A call: state and request → response, or a generator of it."""


@asynccontextmanager
async def serve(
    state: EngineState,
    faults: Faults,
    host: str,
    port: int,
    credentials: grpc.ServerCredentials | None = None,
    gateway: Gateway | None = None,
) -> AsyncIterator[int]:
    """Serve gRPC, with TLS if there are credentials, to those whom the `gateway` admits; gives the port.

    Raises `OSError` if it cannot be bound.
    """
    behind = [_Entrance(gateway)] if gateway is not None and gateway.token is not None else []
    server = grpc.aio.server(interceptors=behind, options=[("grpc.so_reuseport", 0)])
    methods = {
        f"{name.title().replace('_', '')}": _handler(state, faults, name, action) for name, action in _ACTIONS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    address = f"{host}:{port}"
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


def credentials_of(gateway: Gateway) -> grpc.ServerCredentials | None:
    """The server's side of TLS; None without certificate."""
    if gateway.cert_file is None or gateway.key_file is None:
        return None
    return grpc.ssl_server_credentials([(gateway.key_file.read_bytes(), gateway.cert_file.read_bytes())])


class _Entrance(grpc.aio.ServerInterceptor):
    """Turns away the calls that a gateway does not admit."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        if self._gateway.admits(str(dict(details.invocation_metadata).get("authorization", ""))):
            return await continuation(details)
        return grpc.unary_unary_rpc_method_handler(_turn_away)


async def _turn_away(_request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> NoReturn:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the bearer token is wrong")


def _handler(state: EngineState, faults: Faults, name: CallName, action: Action) -> "grpc.RpcMethodHandler[Any, Any]":
    method = name.title().replace("_", "")

    async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        try:
            return await faults.carry_out(name, lambda: action(state, request))
        except AnswerDropped:
            return await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was dropped")
        except CallError as error:
            return await context.abort(_CODES[type(error)], str(error))

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=getattr(pb, f"{method}Request").FromString,
        response_serializer=getattr(pb, f"{method}Response").SerializeToString,
    )


def _upload(state: EngineState, request: pb.UploadDefinitionRequest) -> pb.UploadDefinitionResponse:
    stored, uploaded_at = state.definitions.upload(messages.received_definition(request.definition))
    return pb.UploadDefinitionResponse(id=stored.id, version=stored.version, uploaded_at=messages.time(uploaded_at))


def _get_definition(state: EngineState, request: pb.GetDefinitionRequest) -> pb.GetDefinitionResponse:
    _required(id=request.id)
    return pb.GetDefinitionResponse(definition=messages.definition(state.definitions.get(request.id, request.version)))


def _list_definitions(state: EngineState, request: pb.ListDefinitionsRequest) -> pb.ListDefinitionsResponse:
    page, page_size = request.page, request.page_size or 20
    wire.check_page(page, page_size)
    found, total = state.definitions.list(keyword=request.keyword, page=page, page_size=page_size)
    return pb.ListDefinitionsResponse(
        definitions=[messages.definition(definition) for definition, _ in found], total=total
    )


def _start(state: EngineState, request: pb.StartInstanceRequest) -> pb.StartInstanceResponse:
    _required(definition_id=request.definition_id)
    version = max(request.definition_version, 0)
    instance = state.start(
        request.definition_id, version, messages.received_variables(request.variables), request.business_key
    )
    return pb.StartInstanceResponse(instance=messages.instance(instance))


def _get_instance(state: EngineState, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
    _required(id=request.id)
    return pb.GetInstanceResponse(instance=messages.instance(state.instance(request.id)))


def _list_instances(state: EngineState, request: pb.ListInstancesRequest) -> pb.ListInstancesResponse:
    page, page_size = request.page, request.page_size or 20
    wire.check_page(page, page_size)
    found, total = state.list_instances(
        definition_id=request.definition_id,
        status=messages.received_status(request.status) or "",
        business_key=request.business_key,
        page=page,
        page_size=page_size,
    )
    return pb.ListInstancesResponse(instances=[messages.instance(instance) for instance in found], total=total)


def _get_history(state: EngineState, request: pb.GetInstanceHistoryRequest) -> pb.GetInstanceHistoryResponse:
    _required(id=request.id)
    history = state.instance(request.id).history
    return pb.GetInstanceHistoryResponse(executions=[messages.execution(entry) for entry in history])


def _cancel(state: EngineState, request: pb.CancelInstanceRequest) -> pb.CancelInstanceResponse:
    _required(id=request.id)
    return pb.CancelInstanceResponse(instance=messages.instance(state.cancel(request.id, request.reason)))


def _poll(state: EngineState, request: pb.PollJobsRequest) -> pb.PollJobsResponse:
    jobs = state.poll(request.worker_id, request.job_types, request.max_jobs)
    return pb.PollJobsResponse(jobs=[messages.job(job) for job in jobs])


def _complete(state: EngineState, request: pb.CompleteJobRequest) -> Generator[None, None, pb.CompleteJobResponse]:
    _required(job_id=request.job_id)
    yield from state.completing(
        request.job_id, request.worker_id, messages.received_variables(request.variables_to_set)
    )
    return pb.CompleteJobResponse()


def _fail(state: EngineState, request: pb.FailJobRequest) -> pb.FailJobResponse:
    _required(job_id=request.job_id)
    state.fail(request.job_id, request.worker_id, request.error_message, retryable=request.retryable)
    return pb.FailJobResponse()


def _complete_user_task(state: EngineState, request: pb.CompleteUserTaskRequest) -> NoReturn:
    _required(instance_id=request.instance_id, user_task_step_id=request.user_task_step_id)
    state.complete_user_task(request.instance_id, request.user_task_step_id)


def _signal_wait(state: EngineState, request: pb.SignalWaitRequest) -> NoReturn:
    _required(instance_id=request.instance_id, wait_step_id=request.wait_step_id)
    state.signal_wait(request.instance_id, request.wait_step_id)


def _required(**ids: str) -> None:
    """Raise `BadRequestError` for a missing id."""
    for name, value in ids.items():
        if not value:
            raise BadRequestError(f"{name} is required")


_ACTIONS: dict[CallName, Action] = {
    "upload_definition": _upload,
    "get_definition": _get_definition,
    "list_definitions": _list_definitions,
    "start_instance": _start,
    "get_instance": _get_instance,
    "list_instances": _list_instances,
    "get_instance_history": _get_history,
    "cancel_instance": _cancel,
    "poll_jobs": _poll,
    "complete_job": _complete,
    "fail_job": _fail,
    "complete_user_task": _complete_user_task,
    "signal_wait": _signal_wait,
}
