"""Calls through a proxy that the environment names, which sees no more than bytes."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from integration.engine.clients import Transport
from integration.engine.pki import Authority
from oauth import CLIENT_ID, CLIENT_SECRET, token_server
from rochallor_worker.devengine import DevEngine, Gateway
from rochallor_worker.engine.client import Connection, EngineClient, OAuth
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import Unreachable

LOGIN = "shop:hunter2"

pytestmark = pytest.mark.parametrize("transport", ["rest", "grpc"])


class ConnectProxy:
    """A proxy that opens tunnels for whoever knows `LOGIN`."""

    def __init__(self) -> None:
        self.url = ""
        self.targets: list[str] = []
        self.seen = b""
        """What clients have sent through the tunnels."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if f"Basic {base64.b64encode(LOGIN.encode()).decode()}" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
                return
            self.targets.append(head.split()[1])
            host, _, port = head.split()[1].rpartition(":")
            to, back = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(self._pass(reader, back, sent=True), self._pass(to, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, sent: bool = False) -> None:
        try:
            while part := await reader.read(2**16):
                self.seen += part if sent else b""
                writer.write(part)
        finally:
            writer.close()

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def connect_proxy() -> AsyncIterator[ConnectProxy]:
    proxy = ConnectProxy()
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    proxy.url = f"http://{LOGIN}@{host}:{port}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
        await server.wait_closed()


def connect(engine: DevEngine, transport: Transport, connection: Connection) -> EngineClient:
    return GrpcClient(engine.grpc_target, connection) if transport == "grpc" else RestClient(engine.url, connection)


async def test_calls_and_tokens_go_through_the_proxy(
    tmp_path: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.make(tmp_path / "pki")
    pair = authority.issue("server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.cert, pair.key)
    (tmp_path / "id").write_text(CLIENT_ID)
    (tmp_path / "secret").write_text(CLIENT_SECRET)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with connect_proxy() as proxy, token_server(tls=tls) as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        oauth = OAuth(server.url, str(tmp_path / "id"), str(tmp_path / "secret"))
        connection = Connection(oauth=oauth, ca_file=str(authority.ca.cert))
        gateway = Gateway(pair.cert, pair.key, accepts=server.accepts)
        async with DevEngine(grpc_port=0, gateway=gateway) as engine:
            address = engine.grpc_target if transport == "grpc" else engine.url.removeprefix("https://")
            async with connect(engine, transport, connection) as client:
                assert (await client.list_definitions()).items == []
            assert set(proxy.targets) == {server.url.split("/")[2], address}
            assert proxy.seen
            assert not any(token.encode() in proxy.seen for token in server.issued), "it sees no token"
            proxy.targets.clear()
            monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
            async with connect(engine, transport, connection) as client:
                assert (await client.list_definitions()).items == []
            assert proxy.targets == []


async def test_a_proxy_that_refuses_is_no_lost_answer(
    tmp_path: Path, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has reached the engine, so a Fail may be sent again."""
    authority = Authority.make(tmp_path / "pki")
    pair = authority.issue("server")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with connect_proxy() as proxy, DevEngine(grpc_port=0, gateway=Gateway(pair.cert, pair.key)) as engine:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace(LOGIN, "shop:another"))
        async with connect(engine, transport, Connection(ca_file=str(authority.ca.cert))) as client:
            with pytest.raises(Unreachable, match=r"cannot connect to .*407") as raised:
                await client.fail_job("j", "w", "no", retryable=True)
        assert "another" not in str(raised.value)
