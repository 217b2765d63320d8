"""The operator's own HTTP endpoints: /livez, /readyz and /metrics."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from rochallor_operator.errors import StartError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Health:
    """What /readyz answers: None when the operator serves resources, else the sentence why not yet."""

    not_ready: str | None = "starting"


@asynccontextmanager
async def serve(health: Health, port: int) -> AsyncIterator[int]:
    """Serve while inside; gives the port (useful with port 0). Raises StartError when the port is taken."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if health.not_ready is not None:
            return web.Response(status=503, text=health.not_ready + "\n")
        return web.Response(text="ok\n")

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
