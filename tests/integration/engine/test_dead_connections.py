"""gRPC connections that die silently, and addresses that change while a connection lives."""

import asyncio

import pytest

from integration.engine.clients import TIMEOUT
from integration.engine.proxy import Proxy, listener, proxied
from rochallor_worker.devengine import DevEngine
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.errors import AnswerLost
from waiting import until


async def test_after_a_deadline_the_next_call_uses_a_new_connection() -> None:
    """A balancer drops an idle connection but acknowledges what is sent on it; otherwise unnoticed for minutes."""
    async with DevEngine(grpc_port=0) as engine:
        host, port = engine.grpc_target.split(":")
        async with proxied(host, int(port)) as dead, GrpcClient(dead.address, timeout=TIMEOUT) as client:
            await client.list_definitions()
            dead.forget()
            with pytest.raises(AnswerLost):
                await client.list_definitions()
            assert (await client.list_definitions()).total == 0


async def test_a_live_connection_is_replaced_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rochallor_worker.engine.grpc.client.MAX_AGE_SECONDS", 0.2)
    connections = 0
    async with DevEngine(grpc_port=0) as engine:
        host, port = engine.grpc_target.split(":")
        proxy = Proxy(host, int(port))

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            proxy.treat(reader, writer)

        async with listener(accept) as address, GrpcClient(address) as client:

            async def call() -> None:
                while True:
                    await client.list_definitions()

            calling = asyncio.create_task(call())
            await until(lambda: connections >= 3)
            assert not calling.done()  # no call was cut off
            calling.cancel()
        await proxy.end()
