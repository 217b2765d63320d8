"""The dev engine over REST: paths and status codes as engine.md gives them.

Each call is a plain function of the state and the request's parts; `rest_app` reads bodies and turns refusals into
answers for all of them.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, NoReturn, cast, get_args

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from rochallor_worker.devengine import wire
from rochallor_worker.devengine.definition import Definition
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
from rochallor_worker.devengine.records import InstanceStatus

MAX_BODY_BYTES = 256 * 2**20
HEALTH = "/healthz"

_ERRORS: dict[type[CallError], tuple[int, str]] = {
    BadRequestError: (400, "bad-request"),
    NotFoundError: (404, "not-found"),
    ConflictError: (409, "conflict"),
    InternalError: (500, "internal-error"),
    EndedError: (500, "internal-error"),
}


class Call(NamedTuple):
    """The parts of a request that calls read."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


Action = Callable[[EngineState, Call], web.Response | Generator[None, None, web.Response]]


def rest_app(state: EngineState, faults: Faults, gateway: Gateway | None = None) -> web.Application:
    """Return the engine's REST interface over `state`, with `faults`; all but its health is behind the `gateway`."""
    behind = [_entrance(gateway)] if gateway is not None and gateway.token is not None else []
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[*behind, _unrouted])
    calls: dict[str, tuple[CallName, Action]] = {
        "POST /v1/definitions": ("upload_definition", _upload),
        "GET /v1/definitions": ("list_definitions", _list_definitions),
        "GET /v1/definitions/{id}": ("get_definition", _get_definition),
        "GET /v1/definitions/{id}/versions/{version}": ("get_definition", _get_definition_version),
        "POST /v1/instances": ("start_instance", _start),
        "GET /v1/instances": ("list_instances", _list_instances),
        "GET /v1/instances/{id}": ("get_instance", _get_instance),
        "GET /v1/instances/{id}/history": ("get_instance_history", _get_history),
        "POST /v1/instances/{id}/cancel": ("cancel_instance", _cancel),
        "POST /v1/jobs/poll": ("poll_jobs", _poll),
        "POST /v1/jobs/{id}/complete": ("complete_job", _complete),
        "POST /v1/jobs/{id}/fail": ("fail_job", _fail),
        "POST /v1/instances/{id}/user-tasks/{step}/complete": ("complete_user_task", _complete_user_task),
        "POST /v1/instances/{id}/signals/{step}": ("signal_wait", _signal_wait),
    }
    for route, (name, action) in calls.items():
        method, path = route.split()
        app.router.add_route(method, path, _handler(state, faults, name, action))
    app.router.add_get(HEALTH, _healthz)
    return app


def _handler(state: EngineState, faults: Faults, name: CallName, action: Action) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        call = Call(request.match_info, request.query, await request.read())
        try:
            return await faults.carry_out(name, lambda: action(state, call))
        except AnswerDropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except PollingOffError as error:
            hint = "consume the topics workflow.jobs.<jobType>"
            return _json({"error": str(error), "dispatch_mode": state.dispatch_mode, "hint": hint}, 410)
        except CallError as error:
            status, code = _ERRORS[type(error)]
            return _json({"error": code, "reason": str(error)}, status)

    return handle


def _entrance(gateway: Gateway) -> Middleware:
    @web.middleware
    async def enter(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == HEALTH or gateway.admits(request.headers.get("Authorization", "")):
            return await handler(request)
        return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"}, text="the bearer token is wrong\n")

    return enter


@web.middleware
async def _unrouted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer an unknown path or method as the engine's router does: plain text, or nothing."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(status=404, text="404 page not found\n")
    except web.HTTPMethodNotAllowed as refusal:
        return web.Response(status=405, headers={"Allow": refusal.headers["Allow"]})


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=wire.encode(body), status=status, content_type="application/json")


def _upload(state: EngineState, call: Call) -> web.Response:
    return _json(wire.definition_json(*state.definitions.upload(wire.decode(call.body, Definition))), 201)


def _list_definitions(state: EngineState, call: Call) -> web.Response:
    page, page_size = _page(call.query)
    found, total = state.definitions.list(keyword=call.query.get("keyword", ""), page=page, page_size=page_size)
    return _json({"items": [wire.definition_json(*entry) for entry in found], "total": total})


def _get_definition(state: EngineState, call: Call) -> web.Response:
    return _json(state.definitions.get(call.path["id"]))


def _get_definition_version(state: EngineState, call: Call) -> web.Response:
    version = _integer("version", call.path["version"])
    if version < 1:
        raise NotFoundError("definition not found")
    return _json(state.definitions.get(call.path["id"], version))


def _start(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body, wire.StartRequest)
    if not request.definition_id:
        raise BadRequestError("definitionId is required")
    instance = state.start(
        request.definition_id,
        max(request.definition_version or 0, 0),
        wire.variables(request.variables),
        request.business_key or "",
    )
    return _json(wire.instance_json(instance), 201)


def _list_instances(state: EngineState, call: Call) -> web.Response:
    page, page_size = _page(call.query)
    status = call.query.get("status", "")
    if status and status not in get_args(InstanceStatus):
        raise BadRequestError(f'status must be one of {", ".join(get_args(InstanceStatus))}, is "{status}"')
    found, total = state.list_instances(
        definition_id=call.query.get("definitionId", ""),
        status=cast("InstanceStatus", status),
        business_key=call.query.get("businessKey", ""),
        page=page,
        page_size=page_size,
    )
    return _json({"items": [wire.instance_json(instance) for instance in found], "total": total})


def _get_instance(state: EngineState, call: Call) -> web.Response:
    return _json(wire.instance_json(state.instance(call.path["id"])))


def _get_history(state: EngineState, call: Call) -> web.Response:
    return _json({"items": [wire.execution_json(entry) for entry in state.instance(call.path["id"]).history]})


def _cancel(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body or b"{}", wire.CancelRequest)
    return _json(wire.instance_json(state.cancel(call.path["id"], request.reason)))


def _poll(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body, wire.PollRequest)
    jobs = state.poll(request.worker_id, request.job_types or (), request.max_jobs)
    return _json({"jobs": [wire.job_json(job) for job in jobs] or None})


def _complete(state: EngineState, call: Call) -> Generator[None, None, web.Response]:
    request = wire.decode(call.body, wire.CompleteRequest)
    yield from state.completing(call.path["id"], request.worker_id, wire.variables(request.variables))
    return web.Response(status=204)


def _fail(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body, wire.FailRequest)
    state.fail(call.path["id"], request.worker_id, request.error_message, retryable=request.retryable)
    return web.Response(status=204)


def _complete_user_task(state: EngineState, call: Call) -> NoReturn:
    wire.decode(call.body or b"{}", wire.CompleteUserTaskRequest)
    state.complete_user_task(call.path["id"], call.path["step"])


def _signal_wait(state: EngineState, call: Call) -> NoReturn:
    wire.decode(call.body or b"{}", dict[str, Any])
    state.signal_wait(call.path["id"], call.path["step"])


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response()


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadRequestError(f'{name} must be an integer, is "{text}"') from None


def _page(query: Mapping[str, str]) -> tuple[int, int]:
    page, page_size = _integer("page", query.get("page", "0")), _integer("pageSize", query.get("pageSize", "20"))
    wire.check_page(page, page_size)
    return page, page_size
