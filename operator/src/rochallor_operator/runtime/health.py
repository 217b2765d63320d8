"""The operator's own HTTP endpoints: /livez, /readyz and /metrics."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from rochallor_operator.errors import StartError
from rochallor_operator.runtime.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass
class Health:
    """What the probes answer.

    not_ready: None when the operator serves resources or stands by, else why it doesn't yet.
    checks: each returns None, or why the operator must be restarted.
    """

    not_ready: str | None = "starting"
    checks: list[Callable[[], str | None]] = field(default_factory=list)


@asynccontextmanager
async def serve(health: Health, port: int) -> AsyncIterator[int]:
    """Serve while inside; yields the port (useful with port 0). Raises StartError when the port is taken."""

    async def livez(_: web.Request) -> web.Response:
        return _answer(next((problem for check in health.checks if (problem := check()) is not None), None))

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.not_ready)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            both = socket.has_dualstack_ipv6()  # one socket for IPv4 and IPv6, so that port 0 is one port
            family = socket.AF_INET6 if both else socket.AF_INET
            listener = socket.create_server(("", port), family=family, dualstack_ipv6=both)
        except OSError as error:
            raise StartError(f"can't listen on port {port}: {error.strerror}") from error
        await web.SockSite(runner, listener).start()
        yield listener.getsockname()[1]
    finally:
        await runner.cleanup()


def _answer(problem: str | None) -> web.Response:
    return web.Response(text=f"{one_line(problem or 'ok')}\n", status=503 if problem else 200)
