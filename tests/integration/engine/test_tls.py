"""Mutual TLS over both transports, and certificates that change while a client runs."""

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from integration.engine.clients import ORDER, Transport
from integration.engine.pki import Authority
from integration.engine.tls import TlsEngine
from rochallor_worker.devengine import Fault
from rochallor_worker.engine import credentials
from rochallor_worker.engine.client import Connection, EngineClient
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import EngineError, Unreachable
from waiting import until

pytestmark = pytest.mark.parametrize("transport", ["rest", "grpc"])


@pytest.fixture
def old(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "new")


@pytest.fixture
def files(tmp_path: Path, old: Authority) -> Connection:
    """A client's files, of the old CA."""
    issued = old.issue("client")
    return Connection(
        ca_file=str(shutil.copy(old.ca.cert, tmp_path / "ca.crt")),
        cert_file=str(shutil.copy(issued.cert, tmp_path / "tls.crt")),
        key_file=str(shutil.copy(issued.key, tmp_path / "tls.key")),
    )


@pytest.fixture(autouse=True)
def check_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "CHECK_SECONDS", 0.0)


def replace(file: str, *parts: Path) -> None:
    """Replace a file's content atomically, as happens to a mounted secret."""
    fresh = Path(f"{file}.new")
    fresh.write_bytes(b"".join(part.read_bytes() for part in parts))
    fresh.rename(file)


def remove(file: str) -> None:
    Path(file).unlink()


async def test_both_sides_show_their_certificates(transport: Transport, old: Authority, files: Connection) -> None:
    engine = TlsEngine(transport, old.issue("server"), old.ca.cert)
    async with engine.running(), engine.client(files) as client:
        assert (await client.upload_definition(ORDER)).version == 1
        assert (await client.start_instance("order", {"n": 1})).variables == {"n": 1}


async def test_a_stranger_on_either_side_is_refused(
    transport: Transport, old: Authority, new: Authority, files: Connection, tmp_path: Path
) -> None:
    engine = TlsEngine(transport, new.issue("server"), old.ca.cert)
    async with engine.running(), engine.client(files) as client:
        with pytest.raises(Unreachable, match="cannot connect"):
            await client.upload_definition(ORDER)
    engine = TlsEngine(transport, old.issue("server"), new.ca.cert)
    async with engine.running(), engine.client(files) as client:
        with pytest.raises(EngineError):  # REST notices only after it has sent the request
            await client.upload_definition(ORDER)
    engine = TlsEngine(transport, old.issue("server"), old.ca.cert)
    async with engine.running(), engine.client(Connection(ca_file=files.ca_file)) as client:
        with pytest.raises(EngineError):
            await client.upload_definition(ORDER)
    assert engine.state.definitions.list() == ([], 0)


async def test_an_unknown_ca_is_not_trusted_by_default(transport: Transport, old: Authority) -> None:
    engine = TlsEngine(transport, old.issue("server"), old.ca.cert)
    async with engine.running():
        make = GrpcClient if transport == "grpc" else RestClient
        async with make(f"https://127.0.0.1:{engine.port}", Connection(token="t")) as client:
            with pytest.raises(Unreachable, match=r"(?i)certificate.verify.failed"):
                await client.upload_definition(ORDER)


async def test_a_change_of_all_certificates_interrupts_no_call(
    transport: Transport, old: Authority, new: Authority, files: Connection, tmp_path: Path
) -> None:
    both = tmp_path / "both.crt"
    both.write_bytes(old.ca.cert.read_bytes() + new.ca.cert.read_bytes())
    engine = TlsEngine(transport, old.issue("server"), both)
    issued = new.issue("client")
    async with engine.running():
        client = engine.client(files)
        await client.upload_definition(ORDER)
        engine.faults.next("start_instance", Fault(delay_after=5))  # the change and another call take less
        in_flight = asyncio.create_task(client.start_instance("order"))
        await until(lambda: engine.faults.calls["start_instance"])
        replace(files.ca_file, old.ca.cert, new.ca.cert)
        replace(files.cert_file, issued.cert)
        replace(files.key_file, issued.key)
        assert (await client.get_definition("order"))["version"] == 1
        assert not in_flight.done()
        assert (await in_flight).status == "ACTIVE"
    engine.server, engine.clients = new.issue("server"), new.ca.cert
    async with engine.running(), client:
        await answered(client)


async def answered(client: EngineClient) -> None:
    """Call until there is an answer: gRPC waits a moment before it reconnects."""
    async with asyncio.timeout(60):
        while True:
            try:
                await client.get_definition("order")
            except EngineError:
                await asyncio.sleep(0.02)
            else:
                return


async def test_if_files_become_invalid_their_previous_content_stays_in_use(
    transport: Transport,
    old: Authority,
    new: Authority,
    files: Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = TlsEngine(transport, old.issue("server"), old.ca.cert)
    async with engine.running(), engine.client(files) as client:
        await client.upload_definition(ORDER)
        replace(files.cert_file, new.issue("client").cert)  # its key has not arrived yet
        for _ in range(2):
            await client.get_definition("order")
        remove(files.ca_file)
        await client.get_definition("order")
        log = caplog.text
        assert log.count("its previous content stays in use") == 2
        assert (
            f"client certificate {files.cert_file} with key {files.key_file} cannot be used: key values mismatch" in log
        )
        assert f"CA file {files.ca_file} cannot be read: No such file or directory" in log


async def test_the_harness_closes_connections_without_a_handshake(transport: Transport, old: Authority) -> None:
    engine = TlsEngine(transport, old.issue("server"), old.ca.cert)
    async with engine.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.transport.abort()
