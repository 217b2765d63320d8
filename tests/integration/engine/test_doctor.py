"""`rochallor-worker doctor` against the dev engine, over each transport and through a gateway."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from integration.engine.clients import BOTH_GENERATIONS
from integration.engine.pki import Authority
from oauth import CLIENT_ID, CLIENT_SECRET, token_server
from rochallor_worker.devengine import DevEngine, Gateway
from rochallor_worker.devengine.records import Generation

HANDLERS = """
from rochallor_worker import Job, Registry
registry = Registry()

@registry.handler("pick")
def pick(job: Job) -> None: ...
"""
TOKEN = "who may come in"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_handlers.py").write_text(HANDLERS)
    return tmp_path


async def doctor(folder: Path, *arguments: str, **settings: str) -> tuple[int | None, dict[str, tuple[str, str]]]:
    """Run the command; return its exit status, and state and text of each check."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROCHALLOR_")}
    environment |= {f"ROCHALLOR_{name.upper()}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rochallor_worker", "doctor", "my_handlers:registry", *arguments),
        env=environment,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, logged = await process.communicate()
    assert TOKEN not in printed.decode()
    assert re.sub(r"(?m)^I\d{4} .*\n?", "", logged.decode()) == ""  # apart from gRPC's own lines about its connections
    return process.returncode, _rows(printed.decode())


def _rows(table: str) -> dict[str, tuple[str, str]]:
    """The rows of a table, whose cells may span several lines."""
    rows: dict[str, tuple[str, str]] = {}
    check = ""
    for line in table.splitlines():
        if line.startswith("│"):
            name, state, found, _ = (cell.strip() for cell in line.split("│")[1:-1])
            check = name if state else check
            before = rows.get(check, (state, ""))
            rows[check] = (before[0], f"{before[1]} {found}".strip())
    return rows


def where(engine: DevEngine, transport: str) -> dict[str, str]:
    if transport == "grpc":
        return {"transport": "grpc", "engine_grpc_target": engine.grpc_target}
    return {"engine_url": engine.url}


@BOTH_GENERATIONS
@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_a_setup_that_works(folder: Path, transport: str, generation: Generation) -> None:
    async with DevEngine(grpc_port=0, generation=generation) as engine:
        status, found = await doctor(folder, **where(engine, transport), journal_dir=str(folder / "journal"))
        assert status == 0, found
        assert engine.state.log == []
        assert not engine.state.instances
        assert engine.state.definitions.list() == ([], 0)
        status, more = await doctor(folder, "--probe", **where(engine, transport))
        assert status == 0, more
        assert [instance.status for instance in engine.state.instances.values()] == ["COMPLETED"]
    name = "A: up to spring 2026" if generation == "A" else "D: v1.2 or later"
    assert found["generation"] == more["generation"] == ("warning" if generation == "A" else "ok", name)
    assert {found[check][0] for check in ("engine", "dispatch", "handlers", "journal")} == {"ok"}
    assert more.keys() > found.keys() - {"not checked"}
    carried = "do not come with the claim" if (transport, generation) == ("grpc", "A") else "come with the claim"
    assert more["variables"] == ("ok", carried)


@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_a_gateway_that_demands_tokens_of_a_token_server(folder: Path, transport: str) -> None:
    (folder / "id").write_text(CLIENT_ID)
    (folder / "secret").write_text(CLIENT_SECRET)
    async with token_server() as server, DevEngine(grpc_port=0, gateway=Gateway(accepts=server.accepts)) as engine:
        settings = where(engine, transport) | {
            "engine_oauth_token_url": server.url,
            "engine_oauth_client_id_file": str(folder / "id"),
            "engine_oauth_client_secret_file": str(folder / "secret"),
        }
        status, found = await doctor(folder, **settings)
        assert status == 0, found
        assert found["token"] == ("ok", "sent and not refused")
        server.lifetime = 0.0
        status, found = await doctor(folder, **settings)
        assert (status, found["token"][0]) == (1, "failed")
        assert found["token"][1].endswith(("answered 401", "UNAUTHENTICATED"))
        server.secret = "another"
        status, found = await doctor(folder, **settings)
        assert (status, found["token"][0]) == (1, "failed")
        assert found["token"][1].endswith(f"the token server {server.url} answered 401 invalid_client")
        assert "engine" not in found, "nothing is known of it"


@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_a_gateway_with_tls_and_a_token(folder: Path, transport: str) -> None:
    authority = Authority.make(folder / "pki")
    server = authority.issue("server")
    token = folder / "token"
    token.write_text(TOKEN)
    async with DevEngine(grpc_port=0, gateway=Gateway(server.cert, server.key, TOKEN)) as engine:
        settings = where(engine, transport) | {"engine_ca_file": str(authority.ca.cert)}
        status, found = await doctor(folder, **settings, engine_token_file=str(token))
        assert status == 0, found
        assert found["TLS"] == ("ok", "on; the certificate is signed by your CA")
        assert found["token"] == ("ok", "sent and not refused")

        status, found = await doctor(folder, **settings, engine_token="a wrong one, as it happens")
        assert status == 1
        assert found["token"][0] == "failed"
        assert found["token"][1].endswith(("answered 401", "UNAUTHENTICATED"))
        status, found = await doctor(folder, **settings)
        assert (status, found["no token"][0]) == (1, "failed")

        untrusted = {name: value.replace("127.0.0.1", "https://127.0.0.1") for name, value in settings.items()}
        untrusted = settings if transport == "rest" else untrusted
        status, found = await doctor(folder, **{**untrusted, "engine_ca_file": ""})
        assert (status, found["engine"][0]) == (1, "failed")
        assert transport == "grpc" or "CERTIFICATE_VERIFY_FAILED" in found["engine"][1]


async def test_no_engine_there(folder: Path, closed_port: int) -> None:
    address = f"127.0.0.1:{closed_port}"
    for place in ({"engine_url": f"http://{address}"}, {"transport": "grpc", "engine_grpc_target": address}):
        status, found = await doctor(folder, **place)
        assert (status, found["engine"][0], found["handlers"][0]) == (1, "failed", "ok")
        assert "connect" in found["engine"][1]


async def test_an_engine_that_dispatches_over_kafka_refuses_polls(folder: Path) -> None:
    async with DevEngine(dispatch_mode="kafka_outbox") as engine:
        status, found = await doctor(folder, "--probe", **where(engine, "rest"))
        assert not engine.state.instances
    assert (status, found["dispatch"]) == (1, ("failed", "over Kafka; this worker would get no jobs"))
    assert found["probe"][0] == "warning"
