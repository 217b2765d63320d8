"""The dev engine over gRPC: service `workflow.v1.WorkflowEngine` as in engine.md, with the same fields left empty.

Messages of more than 4 MiB are refused: gRPC's default, which the engine keeps.
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
    InternalError,
    NotFoundError,
    NotSupportedError,
    PollingOffError,
    SchemaViolationError,
    TakenError,
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
    TakenError: grpc.StatusCode.ALREADY_EXISTS,
    PollingOffError: grpc.StatusCode.FAILED_PRECONDITION,
    InternalError: grpc.StatusCode.INTERNAL,
    SchemaViolationError: grpc.StatusCode.INVALID_ARGUMENT,
    NotSupportedError: grpc.StatusCode.UNIMPLEMENTED,
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
    """Serve gRPC, with TLS if there are credentials, to callers that the `gateway` admits; yields the port.

    Raises `OSError` if the port cannot be bound.
    """
    behind = [_TokenCheck(gateway)] if gateway is not None and gateway.guarded else []
    server = grpc.aio.server(interceptors=behind, options=[("grpc.so_reuseport", 0)])
    methods = {_method(name): _handler(state, faults, name, action) for name, action in _ACTIONS.items()}
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
    """Return the server's TLS credentials; None without a certificate."""
    if gateway.cert_file is None or gateway.key_file is None:
        return None
    return grpc.ssl_server_credentials([(gateway.key_file.read_bytes(), gateway.cert_file.read_bytes())])


class _TokenCheck(grpc.aio.ServerInterceptor):
    """Refuses the calls that a gateway does not admit."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        if self._gateway.admits(str(dict(details.invocation_metadata).get("authorization", ""))):
            return await continuation(details)
        return grpc.unary_unary_rpc_method_handler(_refuse)


async def _refuse(_request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> NoReturn:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the bearer token is wrong")


def _handler(state: EngineState, faults: Faults, name: CallName, action: Action) -> "grpc.RpcMethodHandler[Any, Any]":
    method = _method(name)

    async def handle(request: Any, context: "grpc.aio.ServicerContext[Any, Any]") -> Any:
        try:
            return await faults.carry_out(name, lambda: action(state.replica(), request))
        except AnswerDropped:
            return await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was dropped")
        except CallError as error:
            return await context.abort(_CODES[type(error)], str(error))

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=getattr(pb, f"{method}Request").FromString,
        response_serializer=getattr(pb, f"{method}Response").SerializeToString,
    )


def _method(name: CallName) -> str:
    return "ExtendJobLease" if name == "extend_lease" else name.title().replace("_", "")


def _upload(state: EngineState, request: pb.UploadDefinitionRequest) -> pb.UploadDefinitionResponse:
    received = messages.received_definition(request.definition)
    stored, uploaded_at = state.definitions.upload(received, state.generation)
    return pb.UploadDefinitionResponse(id=stored.id, version=stored.version, uploaded_at=messages.time(uploaded_at))


def _get_definition(state: EngineState, request: pb.GetDefinitionRequest) -> pb.GetDefinitionResponse:
    _required(id=request.id)
    found = state.definitions.get(request.id, request.version)
    whole = state.generation == "A"
    return pb.GetDefinitionResponse(definition=messages.definition(found) if whole else messages.outline(found))


def _list_definitions(state: EngineState, request: pb.ListDefinitionsRequest) -> pb.ListDefinitionsResponse:
    page, page_size = request.page, wire.page_size(request.page_size)
    wire.check_page(page)
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
    return pb.StartInstanceResponse(instance=messages.instance(instance, "completed_at", "failure_reason"))


def _get_instance(state: EngineState, request: pb.GetInstanceRequest) -> pb.GetInstanceResponse:
    _required(id=request.id)
    return pb.GetInstanceResponse(instance=messages.instance(state.instance(request.id)))


def _list_instances(state: EngineState, request: pb.ListInstancesRequest) -> pb.ListInstancesResponse:
    page, page_size = request.page, wire.page_size(request.page_size)
    wire.check_page(page, "list instances: rows: ")
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
    cancelled = state.cancel(request.id, request.reason)
    return pb.CancelInstanceResponse(instance=messages.instance(cancelled, "completed_at", "business_key"))


def _retry_step(state: EngineState, request: pb.RetryStepRequest) -> pb.RetryStepResponse:
    _required(instance_id=request.instance_id, step_id=request.step_id)
    variables = messages.received_variables(request.variables)
    return pb.RetryStepResponse(
        instance=messages.instance(state.retry_step(request.instance_id, request.step_id, variables))
    )


def _poll(state: EngineState, request: pb.PollJobsRequest) -> pb.PollJobsResponse:
    jobs = state.poll(request.worker_id, request.job_types, request.max_jobs, request.lease_seconds)
    return pb.PollJobsResponse(jobs=[messages.job(job, with_variables=state.generation != "A") for job in jobs])


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


def _extend_lease(state: EngineState, request: pb.ExtendJobLeaseRequest) -> pb.ExtendJobLeaseResponse:
    _required(job_id=request.job_id)
    job = state.extend_lease(request.job_id, request.worker_id, request.lease_seconds)
    return pb.ExtendJobLeaseResponse(accepted=True, lock_expires_at=messages.time(job.lock_expires_at))


def _complete_user_task(state: EngineState, request: pb.CompleteUserTaskRequest) -> pb.CompleteUserTaskResponse:
    _required(instance_id=request.instance_id, user_task_step_id=request.user_task_step_id)
    variables = messages.received_variables(request.result)
    state.complete_user_task(request.instance_id, request.user_task_step_id, variables)
    return pb.CompleteUserTaskResponse()


def _signal_wait(state: EngineState, request: pb.SignalWaitRequest) -> pb.SignalWaitResponse:
    _required(instance_id=request.instance_id, wait_step_id=request.wait_step_id)
    state.signal_wait(request.instance_id, request.wait_step_id, messages.received_variables(request.variables))
    return pb.SignalWaitResponse()


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
    "retry_step": _retry_step,
    "poll_jobs": _poll,
    "complete_job": _complete,
    "fail_job": _fail,
    "extend_lease": _extend_lease,
    "complete_user_task": _complete_user_task,
    "signal_wait": _signal_wait,
}
