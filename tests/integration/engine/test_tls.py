"""Mutual TLS over both transports, and certificates that change under a running client."""

import asyncio
import shutil
from pathlib import Path

import pytest

from integration.engine.clients import ORDER, Transport
from integration.engine.pki import Authority
from integration.engine.tls import TlsEngine
from rochallor_worker.devengine import Fault
from rochallor_worker.engine import credentials
from rochallor_worker.engine.base import Connection, EngineClient
from rochallor_worker.engine.grpc import GrpcClient
from rochallor_worker.engine.rest import RestClient
from rochallor_worker.errors import EngineError, Unreachable

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
def look_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "LOOK_SECONDS", 0.0)


def replace(file: str, *parts: Path) -> None:
    """Swap a file for others' content at once, as a mounted secret is."""
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
        with pytest.raises(EngineError):  # REST learns of it only after it has sent the request
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


async def test_a_change_of_all_certificates_cuts_off_no_call(
    transport: Transport, old: Authority, new: Authority, files: Connection, tmp_path: Path
) -> None:
    both = tmp_path / "both.crt"
    both.write_bytes(old.ca.cert.read_bytes() + new.ca.cert.read_bytes())
    engine = TlsEngine(transport, old.issue("server"), both)
    issued = new.issue("client")
    async with engine.running():
        client = engine.client(files)
        await client.upload_definition(ORDER)
        engine.faults.next("start_instance", Fault(delay_after=0.5))
        under_way = asyncio.create_task(client.start_instance("order"))
        async with asyncio.timeout(5):
            while not engine.faults.calls["start_instance"]:  # noqa: ASYNC110 — over a socket
                await asyncio.sleep(0.01)
        replace(files.ca_file, old.ca.cert, new.ca.cert)
        replace(files.cert_file, issued.cert)
        replace(files.key_file, issued.key)
        assert (await client.get_definition("order"))["version"] == 1
        assert not under_way.done()
        assert (await under_way).status == "ACTIVE"
    engine.server, engine.clients = new.issue("server"), new.ca.cert
    async with engine.running(), client:
        await answered(client)


async def answered(client: EngineClient) -> None:
    """Ask until there is an answer: gRPC waits a moment before it connects again."""
    async with asyncio.timeout(10):
        while True:
            try:
                await client.get_definition("order")
            except EngineError:
                await asyncio.sleep(0.02)
            else:
                return


async def test_files_that_turn_bad_leave_what_they_held_in_use(
    transport: Transport,
    old: Authority,
    new: Authority,
    files: Connection,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = TlsEngine(transport, old.issue("server"), old.ca.cert)
    async with engine.running(), engine.client(files) as client:
        await client.upload_definition(ORDER)
        replace(files.cert_file, new.issue("client").cert)  # its key has not come yet
        for _ in range(2):
            await client.get_definition("order")
        remove(files.ca_file)
        await client.get_definition("order")
        log = capsys.readouterr().out
        assert log.count("what it held before stays in use") == 2
        assert (
            f"client certificate {files.cert_file} with key {files.key_file} cannot be used: key values mismatch" in log
        )
        assert f"CA file {files.ca_file} cannot be read: No such file or directory" in log
