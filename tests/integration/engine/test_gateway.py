"""The dev engine with a gateway in front: TLS and a bearer token, over both transports."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.engine.clients import ORDER, Transport
from integration.engine.pki import Authority
from rochallor_worker.devengine import DevEngine, Gateway
from rochallor_worker.devengine.server import run
from rochallor_worker.engine.client import Connection, EngineClient
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import EngineError, Unreachable

TOKEN = "who may come in"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "pki")


@pytest.fixture
def gateway(authority: Authority) -> Gateway:
    server = authority.issue("server")
    return Gateway(server.cert, server.key, TOKEN)


def client_of(engine: DevEngine, transport: Transport, connection: Connection) -> EngineClient:
    return GrpcClient(engine.grpc_target, connection) if transport == "grpc" else RestClient(engine.url, connection)


@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_a_client_with_the_ca_and_the_token_is_let_in(
    transport: Transport, authority: Authority, gateway: Gateway
) -> None:
    ca_file = str(authority.ca.cert)
    async with DevEngine(grpc_port=0, gateway=gateway) as engine:
        async with client_of(engine, transport, Connection(ca_file=ca_file, token=TOKEN)) as client:
            assert (await client.upload_definition(ORDER)).version == 1
        for token in ("", "another"):
            async with client_of(engine, transport, Connection(ca_file=ca_file, token=token)) as client:
                with pytest.raises(Unreachable, match=r"answered 401|UNAUTHENTICATED"):
                    await client.upload_definition(ORDER)
        async with client_of(engine, transport, Connection(token=TOKEN)) as client:
            with pytest.raises(EngineError):  # over gRPC without a CA it does not even speak TLS
                await client.upload_definition(ORDER)
    assert engine.state.definitions.get("order").version == 1


async def test_its_health_needs_no_token(authority: Authority, gateway: Gateway) -> None:
    async with DevEngine(gateway=gateway) as engine, httpx.AsyncClient(verify=False) as http:  # noqa: S501 - as a kubelet
        assert (await http.get(f"{engine.url}/healthz")).status_code == 200
        for headers in ({}, {b"Authorization": b"Bearer \xff"}):
            assert (await http.get(f"{engine.url}/v1/definitions", headers=headers)).status_code == 401


def test_files_that_cannot_be_used_are_one_clear_line(
    tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    server, other = authority.issue("server"), authority.issue("other")
    empty = tmp_path / "empty"
    empty.write_text("\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"cert_file": server.cert}, "a TLS certificate and its key are given together or not at all"),
        (
            {"cert_file": server.cert, "key_file": other.key},
            f"the TLS certificate {server.cert} with the key {other.key} cannot be used: ",
        ),
        (
            {"cert_file": server.cert, "key_file": tmp_path / "no"},
            f"the TLS certificate {server.cert} with the key {tmp_path / 'no'} cannot be used: No such file",
        ),
        ({"token_file": tmp_path / "no"}, f"the token file {tmp_path / 'no'} cannot be read: No such file"),
        ({"token_file": empty}, f"the token file {empty} is empty"),
    ]
    for files, sentence in cases:
        assert run("127.0.0.1", 0, **files) == 2
        printed = capsys.readouterr().err
        assert printed.startswith(f"dev-engine: {sentence}")
        assert printed.count("\n") == 1
