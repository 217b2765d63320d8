"""The bearer token and the connection's headers arrive with each call, over both transports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web

from integration.engine.clients import Transport
from rochallor_worker.engine import credentials
from rochallor_worker.engine.client import Connection, EngineClient
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import Unreachable
from rochallor_worker.traces import Active


class Gateway(grpc.GenericRpcHandler):
    """Answers every call with nothing and records the headers of the last one."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        self.headers = {str(key): str(value) for key, value in details.invocation_metadata or ()}

        async def nothing(_request: bytes, _context: object) -> bytes:
            return b""

        return grpc.unary_unary_rpc_method_handler(nothing)

    async def rest(self, request: web.Request) -> web.Response:
        self.headers = {name.lower(): value for name, value in request.headers.items()}
        return web.Response(status=204)


@asynccontextmanager
async def behind(gateway: Gateway, transport: Transport, connection: Connection) -> AsyncIterator[EngineClient]:
    if transport == "grpc":
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((gateway,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with GrpcClient(f"127.0.0.1:{port}", connection) as client:
                yield client
        finally:
            await server.stop(None)
        return
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", gateway.rest)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with RestClient(f"http://127.0.0.1:{runner.addresses[0][1]}", connection) as client:
            yield client
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_the_token_and_the_headers_are_sent(
    transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "CHECK_SECONDS", 0.0)
    file = tmp_path / "token"
    file.write_text("first\n")
    connection = Connection(token="unused", token_file=str(file), headers=(("X-Tenant", "blue"), ("x-long", "a b")))
    gateway = Gateway()
    async with behind(gateway, transport, connection) as client:
        await client.complete_job("j", "w", {})
        assert gateway.headers["authorization"] == "Bearer first"
        assert (gateway.headers["x-tenant"], gateway.headers["x-long"]) == ("blue", "a b")
        file.write_text("the second")  # of another size: the time of the change may be the same
        await client.complete_job("j", "w", {})
        assert gateway.headers["authorization"] == "Bearer the second"
        file.unlink()
        await client.complete_job("j", "w", {})
        assert gateway.headers["authorization"] == "Bearer the second"
    async with behind(gateway, transport, Connection(token="plain")) as client:
        await client.complete_job("j", "w", {})
        assert gateway.headers["authorization"] == "Bearer plain"
    async with behind(gateway, transport, Connection()) as client:
        await client.complete_job("j", "w", {})
        assert "authorization" not in gateway.headers


@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_the_active_span_is_sent(transport: Transport) -> None:
    gateway = Gateway()
    span = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    connection = Connection(headers=(("Traceparent", "of the settings"), ("x-tenant", "blue")))
    async with behind(gateway, transport, connection) as client:
        with Active(span):
            await client.complete_job("j", "w", {})
            assert (gateway.headers["traceparent"], gateway.headers["x-tenant"]) == (span, "blue")
        await client.complete_job("j", "w", {})
        assert gateway.headers["traceparent"] == "of the settings"


class Redirecting(Gateway):
    """Redirects every request and records the requested paths."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []

    async def rest(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")


async def test_redirects_are_not_followed() -> None:
    gateway = Redirecting()
    async with behind(gateway, "rest", Connection(token="plain")) as client:
        with pytest.raises(Unreachable, match="307"):
            await client.complete_job("j", "w", {})
    assert gateway.paths == ["/v1/jobs/j/complete"]
