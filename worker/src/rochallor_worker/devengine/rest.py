"""The dev engine over REST: paths and status codes as engine.md gives them.

Each call is a plain function of the state and the parts of the request; `rest_app` reads bodies and turns errors into
answers for all of them.
"""

import ipaddress
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from rochallor_worker import pages
from rochallor_worker.devengine import wire
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
    UnsupportedFormatError,
)
from rochallor_worker.devengine.faults import AnswerDropped, CallName, Faults
from rochallor_worker.devengine.gateway import Gateway
from rochallor_worker.devengine.model import EngineState

MAX_BODY_BYTES = 256 * 2**20
HEALTH = "/healthz"

_ERRORS: dict[type[CallError], tuple[int, str]] = {
    BadRequestError: (400, "bad-request"),
    NotFoundError: (404, "not-found"),
    ConflictError: (409, "conflict"),
    TakenError: (409, "conflict"),
    InternalError: (500, "internal-error"),
    SchemaViolationError: (500, "internal-error"),
    UnsupportedFormatError: (415, "unsupported-format"),
}


class Call(NamedTuple):
    """The parts of a request that calls read."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    content_type: str = ""


Action = Callable[[EngineState, Call], web.Response | Generator[None, None, web.Response]]


def rest_app(
    state: EngineState, faults: Faults, gateway: Gateway | None = None, *, loopback: bool = False
) -> web.Application:
    """Return the engine's REST interface over `state`, with `faults`; all but /healthz is behind the `gateway`.

    Calls from web pages of other origins are refused. On a `loopback` address so are calls with the name of another
    host, which a page's owner may have pointed here (DNS rebinding).
    """
    behind = [_require_token(gateway)] if gateway is not None and gateway.guarded else []
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_refuse_web_pages(loopback), *behind, _unrouted])
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
        "POST /v1/instances/{id}/steps/{step}/retry": ("retry_step", _retry_step),
        "POST /v1/jobs/poll": ("poll_jobs", _poll),
        "POST /v1/jobs/{id}/complete": ("complete_job", _complete),
        "POST /v1/jobs/{id}/fail": ("fail_job", _fail),
        "POST /v1/jobs/{id}/heartbeat": ("extend_lease", _heartbeat),
        "POST /v1/instances/{id}/user-tasks/{step}/complete": ("complete_user_task", _complete_user_task),
        "POST /v1/instances/{id}/signals/{step}": ("signal_wait", _signal_wait),
    }
    for route, (name, action) in calls.items():
        method, path = route.split()
        app.router.add_route(method, path, _handler(state, faults, name, action))
    app.router.add_get(HEALTH, _healthz)
    app.router.add_route("*", "/", _instances_page)
    return app


def _handler(state: EngineState, faults: Faults, name: CallName, action: Action) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        call = Call(request.match_info, request.query, await request.read(), request.content_type)
        try:
            return await faults.carry_out(name, lambda: action(state.replica(), call))
        except AnswerDropped:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except PollingOffError as error:
            hint = "consume the topics workflow.jobs.<jobType>"
            return _json({"error": str(error), "dispatch_mode": state.dispatch_mode, "hint": hint}, 410)
        except NotSupportedError:
            return _no_such_path()
        except CallError as error:
            status, code = _ERRORS[type(error)]
            return _json({"error": code, "reason": str(error)}, status)

    return handle


def is_loopback(host: str) -> bool:
    """Whether a name or an address is a loopback one."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_web_pages(loopback: bool) -> Middleware:
    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            return _json({"error": "forbidden", "reason": f"called by a web page of {origin[:100]!r}"}, 403)
        if loopback and host and not is_loopback(_name(host)):
            return _json({"error": "forbidden", "reason": f"called as {host[:100]!r}, not as localhost"}, 403)
        return await handler(request)

    return refuse


def _name(host: str) -> str:
    """Return the name or address in a Host header, without the port."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdecimal() else host).removeprefix("[").removesuffix("]")


def _require_token(gateway: Gateway) -> Middleware:
    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == HEALTH or gateway.admits(request.headers.get("Authorization", "")):
            return await handler(request)
        return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"}, text="the bearer token is wrong\n")

    return check


@web.middleware
async def _unrouted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer an unknown path or method as the engine's router does: with plain text or an empty body."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _no_such_path()
    except web.HTTPMethodNotAllowed as refusal:
        return web.Response(status=405, headers={"Allow": refusal.headers["Allow"]})


def _no_such_path() -> web.Response:
    return web.Response(status=404, text="404 page not found\n")


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=wire.encode(body), status=status, content_type="application/json")


def _upload(state: EngineState, call: Call) -> web.Response:
    if call.content_type == "application/xml":
        raise UnsupportedFormatError("Only JSON workflow definitions are accepted")
    definition = wire.decode_definition(call.body)
    return _json(wire.definition_json(*state.definitions.upload(definition, state.generation)), 201)


def _list_definitions(state: EngineState, call: Call) -> web.Response:
    page, page_size = _page(call.query)
    wire.check_page(page)
    found, total = state.definitions.list(keyword=call.query.get("keyword", ""), page=page, page_size=page_size)
    return _json({"items": [wire.definition_json(*entry) for entry in found] or None, "total": total})


def _get_definition(state: EngineState, call: Call) -> web.Response:
    return _json(state.definitions.get(call.path["id"]))


def _get_definition_version(state: EngineState, call: Call) -> web.Response:
    version = _integer(call.path["version"])
    if version is None:
        raise BadRequestError("invalid version parameter")
    if version < 1:
        raise NotFoundError("definition not found")
    return _json(state.definitions.get(call.path["id"], version))


def _start(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body, wire.StartRequest)
    if not request.definition_id:
        raise BadRequestError("definitionId is required")
    instance = state.start(
        request.definition_id,
        max(request.definition_version, 0),
        wire.variables(request.variables),
        request.business_key,
    )
    return _json(wire.without(wire.instance_json(instance), "completedAt", "failureReason"), 201)


def _list_instances(state: EngineState, call: Call) -> web.Response:
    page, page_size = _page(call.query)
    wire.check_page(page, "list instances: rows: ")
    found, total = state.list_instances(
        definition_id=call.query.get("definitionId", ""),
        status=call.query.get("status", ""),
        business_key=call.query.get("businessKey", ""),
        page=page,
        page_size=page_size,
    )
    return _json({"items": [wire.instance_json(instance) for instance in found] or None, "total": total})


def _get_instance(state: EngineState, call: Call) -> web.Response:
    return _json(wire.instance_json(state.instance(call.path["id"])))


def _get_history(state: EngineState, call: Call) -> web.Response:
    instance = state.instances.get(call.path["id"])
    return _json({"items": [wire.execution_json(entry) for entry in instance.history] if instance else None})


def _cancel(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body or b"{}", wire.CancelRequest)
    cancelled = wire.instance_json(state.cancel(call.path["id"], request.reason))
    return _json(wire.without(cancelled, "completedAt", "businessKey"))


def _retry_step(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body or b"{}", wire.RetryStepRequest)
    return _json(
        wire.instance_json(state.retry_step(call.path["id"], call.path["step"], wire.variables(request.variables)))
    )


def _poll(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body, wire.PollRequest)
    jobs = state.poll(request.worker_id, request.job_types or (), request.max_jobs, request.lease_seconds)
    return _json({"jobs": [wire.job_json(job) for job in jobs] or None})


def _complete(state: EngineState, call: Call) -> Generator[None, None, web.Response]:
    request = wire.decode(call.body, wire.CompleteRequest)
    yield from state.completing(call.path["id"], request.worker_id, wire.variables(request.variables))
    return web.Response(status=204)


def _fail(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body, wire.FailRequest)
    state.fail(call.path["id"], request.worker_id, request.error_message, retryable=request.retryable)
    return web.Response(status=204)


def _heartbeat(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body, wire.HeartbeatRequest)
    job = state.extend_lease(call.path["id"], request.worker_id, request.lease_seconds)
    return _json({"accepted": True, "lockExpiresAt": wire.moment(job.lock_expires_at)})


def _complete_user_task(state: EngineState, call: Call) -> web.Response:
    request = wire.decode(call.body or b"{}", wire.CompleteUserTaskRequest)
    state.complete_user_task(call.path["id"], call.path["step"], wire.variables(request.variables))
    return web.Response(status=204)


def _signal_wait(state: EngineState, call: Call) -> web.Response:
    sent = wire.decode(call.body or b"{}", dict[str, Any])
    state.signal_wait(call.path["id"], call.path["step"], wire.variables(sent))
    return web.Response(status=204)


async def _instances_page(request: web.Request) -> web.Response:
    """The dev engine's own, for browsers: the instances, and their paths through their definitions.

    To anybody else this is an unknown path, as it is to an engine.
    """
    if request.method != "GET" or "text/html" not in request.headers.get("Accept", ""):
        return _no_such_path()
    body, headers = pages.page("dev engine", "instances.js")
    return web.Response(body=body, headers=headers)


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response()


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _page(query: Mapping[str, str]) -> tuple[int, int]:
    """Return the requested page and its size; what is not a number counts as not given."""
    page, page_size = (_integer(query.get(name, "")) or 0 for name in ("page", "pageSize"))
    return page, wire.page_size(page_size)
