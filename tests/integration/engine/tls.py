"""The dev engine behind TLS, as a gateway in front of the real one would be."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from aiohttp import web

from integration.engine.clients import Transport
from integration.engine.pki import Pair
from rochallor_worker.devengine import Faults
from rochallor_worker.devengine.grpc import serve
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.rest import rest_app
from rochallor_worker.engine.base import Connection, EngineClient
from rochallor_worker.engine.grpc import GrpcClient
from rochallor_worker.engine.rest import RestClient


@dataclass
class TlsEngine:
    """An engine that shows `server` and asks for a client certificate of one of the `clients`' CAs."""

    transport: Transport
    server: Pair
    clients: Path
    state: EngineState = field(default_factory=EngineState)
    faults: Faults = field(default_factory=Faults)
    port: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        if self.transport == "grpc":
            pair = (self.server.key.read_bytes(), self.server.cert.read_bytes())
            shown = grpc.ssl_server_credentials([pair], self.clients.read_bytes(), require_client_auth=True)
            async with serve(self.state, self.faults, "127.0.0.1", self.port, shown) as self.port:
                yield
            return
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.clients)
        context.load_cert_chain(self.server.cert, self.server.key)
        context.verify_mode = ssl.CERT_REQUIRED
        runner = web.AppRunner(rest_app(self.state, self.faults), access_log=None, shutdown_timeout=0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=context).start()
            self.port = runner.addresses[0][1]
            yield
        finally:
            await runner.cleanup()

    def client(self, connection: Connection) -> EngineClient:
        if self.transport == "grpc":
            return GrpcClient(f"127.0.0.1:{self.port}", connection)
        return RestClient(f"https://127.0.0.1:{self.port}", connection)
