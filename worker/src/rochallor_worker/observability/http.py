"""The worker's HTTP server: probes, metrics and the status page.

Callers must not keep the worker from its jobs: a connection carries one request and lasts a few seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from prometheus_client import CONTENT_TYPE_LATEST

from rochallor_worker.errors import StartError
from rochallor_worker.execution.runner import Runner
from rochallor_worker.observability.metrics import Metrics

CONNECTIONS = 100
"""Most connections at a time. One more closes the oldest: complete requests are answered at once."""
CONNECTION_SECONDS = 10.0
"""How long a connection may last."""
CACHE_SECONDS = 1.0
"""How long the metrics and the status page are cached."""

_Answer = Callable[[], web.Response]


def not_ready(runner: Runner) -> str:
    """Return why the worker is not ready, as `Reason: sentence`, or nothing. The operator reads the reason."""
    if runner.draining:
        return "Draining: no more jobs are taken"
    return "" if runner.problem is None else ": ".join(runner.problem)


@asynccontextmanager
async def serve(
    runner: Runner,
    metrics: Metrics,
    page: Callable[[], str],
    state: Callable[[], bytes],
    port: int,
    host: str = "",
) -> AsyncIterator[int]:
    """Serve /livez, /readyz, /metrics, /status.json and the status page on one address, or on all; yields the port.

    Raises `StartError` if the port is in use.
    """
    answers: dict[str, _Answer] = {
        "/livez": _probe(lambda: runner.unhealthy, lambda: ""),
        "/readyz": _probe(lambda: not_ready(runner), lambda: runner.notice),
        "/metrics": _content(metrics.exposition, CONTENT_TYPE_LATEST),
        "/status.json": _content(state, "application/json"),
        "/": _content(lambda: page().encode(), "text/html; charset=utf-8"),
    }
    server = web.ServerRunner(_Server(_respond(answers), access_log=None))
    await server.setup()
    try:
        site = web.TCPSite(server, host or None, port)
        try:
            await site.start()
        except OSError as error:
            where = f"port {port}" if not host else f"{host}:{port}"
            raise StartError(f"ROCHALLOR_METRICS_PORT: cannot listen on {where}: {error.strerror}") from error
        # port 0 gives IPv4 and IPv6 different ports: yield that of IPv4, whose addresses are the shorter tuples
        yield min(server.addresses, key=len)[1]
    finally:
        await server.cleanup()


class _Server(web.Server):
    """Closes connections that last too long, and the oldest when there are too many."""

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        asyncio.get_running_loop().call_later(CONNECTION_SECONDS, transport.abort)
        if len(self._connections) > CONNECTIONS:
            self._connections.pop(next(iter(self._connections))).abort()


def _respond(answers: dict[str, _Answer]) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        answer = answers.get(request.path)
        if answer is None:
            response = web.Response(text="not found\n", status=404)
        elif request.method not in {"GET", "HEAD"}:
            response = web.Response(text="only GET\n", status=405, headers={"allow": "GET, HEAD"})
        else:
            response = answer()
        response.force_close()
        return response

    return respond


def _probe(problem: Callable[[], str], notice: Callable[[], str]) -> _Answer:
    def answer() -> web.Response:
        why = problem()
        return web.Response(text=f"{why or notice() or 'ok'}\n", status=503 if why else 200)

    return answer


def _content(make: Callable[[], bytes], content_type: str) -> _Answer:
    made_at, body = float("-inf"), b""

    def answer() -> web.Response:
        nonlocal made_at, body
        if (now := asyncio.get_running_loop().time()) - made_at >= CACHE_SECONDS:
            made_at, body = now, make()
        return web.Response(body=body, headers={"content-type": content_type})

    return answer
