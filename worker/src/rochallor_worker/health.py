"""The worker's HTTP server: probes, metrics and the status page."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from rochallor_worker.errors import StartError
from rochallor_worker.metrics import Metrics
from rochallor_worker.runner import Runner

_Handler = Callable[[web.Request], Awaitable[web.Response]]


def not_ready(runner: Runner) -> str:
    """Return why no jobs are worked on at the moment, `Reason: sentence`, or nothing. The operator reads the reason."""
    if runner.draining:
        return "Draining: no more jobs are taken"
    return "" if runner.trouble is None else ": ".join(runner.trouble)


@asynccontextmanager
async def serve(runner: Runner, metrics: Metrics, page: Callable[[], str], port: int) -> AsyncIterator[int]:
    """Serve /livez, /readyz, /metrics and the status page on all addresses; gives the port.

    Raises `StartError` when the port is taken.
    """
    app = web.Application()
    app.router.add_get("/livez", _probe(lambda: runner.sick))
    app.router.add_get("/readyz", _probe(lambda: not_ready(runner)))
    app.router.add_get("/metrics", _content(metrics.exposition, CONTENT_TYPE_LATEST))
    app.router.add_get("/", _content(lambda: page().encode(), "text/html; charset=utf-8"))
    server = web.AppRunner(app, access_log=None)
    await server.setup()
    try:
        site = web.TCPSite(server, None, port)
        try:
            await site.start()
        except OSError as error:
            raise StartError(f"ROCHALLOR_METRICS_PORT: cannot listen on port {port}: {error.strerror}") from error
        # a free port is another one for IPv6; the caller gets that of IPv4, whose addresses are the shorter tuples
        yield min(server.addresses, key=len)[1]
    finally:
        await server.cleanup()


def _probe(trouble: Callable[[], str]) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        why = trouble()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    return answer


def _content(body: Callable[[], bytes], content_type: str) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body(), headers={"content-type": content_type})

    return answer
