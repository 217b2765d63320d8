"""What a call raises when the connection fails: it was provably never sent, or it may have been carried out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from integration.engine.clients import ORDER, TIMEOUT, Transport, client
from integration.engine.proxy import Proxy, listener, proxied
from rochallor_worker.devengine import DevEngine, Fault
from rochallor_worker.engine.client import EngineClient
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import AnswerLost, EngineError, Unreachable
from waiting import until

pytestmark = pytest.mark.parametrize("transport", ["rest", "grpc"])


def at(transport: Transport, address: str, timeout: float = TIMEOUT) -> EngineClient:
    if transport == "grpc":
        return GrpcClient(address, timeout=timeout)
    return RestClient(f"http://{address}", timeout=timeout)


def _keep_silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    pass


def _abort(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_a_refused_connection(transport: Transport, closed_port: int) -> None:
    async with at(transport, f"127.0.0.1:{closed_port}") as connection:
        for _ in range(2):
            with pytest.raises(Unreachable, match="cannot connect"):
                await connection.get_instance("x")


async def test_a_proxy_named_in_the_environment_gets_no_token(
    transport: Transport, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    async with DevEngine(grpc_port=0) as engine:
        address = engine.grpc_target if transport == "grpc" else engine.url.removeprefix("http://")
        async with at(transport, address) as connection:
            assert (await connection.list_definitions()).items == []


async def test_an_unknown_host(transport: Transport) -> None:
    async with at(transport, "no-such-host.invalid:1", timeout=10) as connection:
        with pytest.raises(Unreachable, match="cannot connect"):
            await connection.get_instance("x")


async def test_a_peer_that_never_answers(transport: Transport) -> None:
    async with listener(_keep_silent) as address, at(transport, address) as connection:
        # over gRPC a connection begins with a greeting, so nothing was sent yet
        with pytest.raises(Unreachable if transport == "grpc" else AnswerLost):
            await connection.get_instance("x")


async def test_a_connection_that_is_closed_at_once(transport: Transport) -> None:
    async with listener(_abort) as address, at(transport, address) as connection:
        # over REST the end may be noticed before the request is written, or after
        with pytest.raises(Unreachable if transport == "grpc" else (AnswerLost, Unreachable)):
            await connection.get_instance("x")


@asynccontextmanager
async def through_a_proxy(transport: Transport) -> AsyncIterator[tuple[EngineClient, Proxy, DevEngine]]:
    async with DevEngine(grpc_port=0) as engine, client("rest", engine) as direct:
        await direct.upload_definition(ORDER)
        host, _, port = (engine.grpc_target if transport == "grpc" else engine.url.removeprefix("http://")).partition(
            ":"
        )
        async with proxied(host, int(port)) as proxy, at(transport, proxy.address) as connection:
            await connection.get_definition("order")
            yield connection, proxy, engine


async def test_a_connection_cut_during_a_call(transport: Transport) -> None:
    async with through_a_proxy(transport) as (connection, proxy, engine):
        engine.faults.next("start_instance", Fault(delay_after=0.3))
        starting = asyncio.create_task(connection.start_instance("order"))
        await until(lambda: engine.state.instances)
        proxy.cut()
        with pytest.raises(AnswerLost):
            await starting


async def test_a_peer_that_vanishes_silently(transport: Transport) -> None:
    async with through_a_proxy(transport) as (connection, proxy, _):
        proxy.flowing.clear()
        with pytest.raises(AnswerLost):
            await connection.get_definition("order")
        proxy.flowing.set()
        assert (await connection.get_definition("order"))["id"] == "order"


async def test_a_cut_between_calls_leaves_no_call_uncertain(transport: Transport) -> None:
    async with through_a_proxy(transport) as (connection, proxy, engine):
        for _ in range(20):
            proxy.cut()
            before = len(engine.state.instances)
            try:
                await connection.start_instance("order")
            except Unreachable:
                assert len(engine.state.instances) == before
            except EngineError:
                pass
            else:
                assert len(engine.state.instances) == before + 1


async def test_a_client_closed_during_a_call(transport: Transport) -> None:
    accepted: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()
    async with listener(lambda reader, _: accepted.put_nowait(reader)) as address:
        connection = at(transport, address, timeout=60)
        call = asyncio.create_task(connection.get_instance("x"))
        peer = await accepted.get()
        await peer.read(1)  # the request has come, or gRPC's greeting
        await connection.aclose()
        async with asyncio.timeout(20):
            with pytest.raises(AnswerLost):
                await call


async def test_a_cancelled_call_is_cancelled(transport: Transport) -> None:
    async with listener(_keep_silent) as address, at(transport, address, timeout=10) as connection:
        call = asyncio.create_task(connection.get_instance("x"))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
