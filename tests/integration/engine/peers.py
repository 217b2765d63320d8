"""Peers that answer every call as a test tells them, and record the requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from aiohttp import web
from google.protobuf.message import Message

from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient


@dataclass
class RestPeer:
    """Speaks HTTP."""

    status: int = 200
    body: bytes = b""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    """Path and body of each request."""

    def answer(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body

    async def serve(self, request: web.Request) -> web.Response:
        self.asked.append((request.raw_path, await request.json() if request.can_read_body else None))
        return web.Response(status=self.status, body=self.body)


@dataclass
class GrpcPeer(grpc.GenericRpcHandler):
    """Speaks gRPC. Without an answer, no call is implemented."""

    answer: Message | tuple[grpc.StatusCode, str] | None = None
    asked: list[Any] = field(default_factory=list)
    """Each request."""

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if self.answer is None:
            return None
        name = str(details.method).rpartition("/")[2]

        async def serve(request: bytes, context: Any) -> bytes:
            self.asked.append(getattr(pb, f"{name}Request").FromString(request))
            if isinstance(self.answer, Message):
                return self.answer.SerializeToString()
            await context.abort(*(self.answer or ()))
            return b""

        return grpc.unary_unary_rpc_method_handler(serve)


@asynccontextmanager
async def over_rest() -> AsyncIterator[tuple[RestPeer, RestClient]]:
    """A peer and a client of it."""
    peer = RestPeer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", peer.serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with RestClient(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            yield peer, client
    finally:
        await runner.cleanup()


@asynccontextmanager
async def over_grpc() -> AsyncIterator[tuple[GrpcPeer, GrpcClient]]:
    """A peer and a client of it."""
    peer = GrpcPeer()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((peer,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with GrpcClient(f"127.0.0.1:{port}") as client:
            yield peer, client
    finally:
        await server.stop(None)
