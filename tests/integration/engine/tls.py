"""The dev engine behind TLS, as a gateway in front of the real one would be."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
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
from rochallor_worker.engine.client import Connection, EngineClient
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient
from waiting import until


class Listener(socket.socket):
    """Can end all accepted connections. A server knows of them only once their TLS handshake is done."""

    def __init__(self, port: int) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.bind(("127.0.0.1", port))
        self._accepted: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, object]:
        """Called by asyncio."""
        connection, address = super().accept()
        self._accepted.append(connection)
        return connection, address

    async def end(self) -> None:
        """Reset them, and wait until they are closed."""
        for connection in self._accepted:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        await until(lambda: all(connection.fileno() < 0 for connection in self._accepted))


@dataclass
class TlsEngine:
    """An engine that shows `server` and requires a client certificate signed by one of the `clients`' CAs."""

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
        with Listener(self.port) as listener:
            try:
                await web.SockSite(runner, listener, ssl_context=context).start()
                self.port = runner.addresses[0][1]
                yield
            finally:
                await runner.cleanup()
                await listener.end()

    def client(self, connection: Connection) -> EngineClient:
        if self.transport == "grpc":
            return GrpcClient(f"127.0.0.1:{self.port}", connection)
        return RestClient(f"https://127.0.0.1:{self.port}", connection)
