"""`make conformance` against the dev engine as each generation: every promise is kept over both transports."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.promises import ALONE, TOGETHER
from conformance.recorded import replayed
from oauth import CLIENT_ID, CLIENT_SECRET, token_server
from rochallor_worker.cli.settings import load
from rochallor_worker.devengine import DevEngine, Fault, Gateway
from rochallor_worker.doctor.facts import Answer, Facts

TESTS = Path(__file__).parents[2]
CASES = "complete-twice"
"""test_contract replays all of them."""


async def conformance(engine: DevEngine, *arguments: str) -> tuple[int | None, str]:
    """Run the command; return its exit status and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "conformance", engine.url, "--cases", CASES, *arguments),
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, " ".join(re.sub("[│┃]", " ", printed.decode()).split())


KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "A: up to spring 2026": ({"generation": "A", "lease": 15}, "interrupted after"),
    "C: after v1.1": ({"heartbeat": False, "lease": 15}, "interrupted after"),
    "D: v1.2 or later": ({}, r"ran for (8|9|\d\d)\."),
}
"""Name of a generation: how to start a dev engine of it, and what happens to a long handler there (a pattern)."""


@pytest.mark.parametrize("name", KINDS)
async def test_each_generation(name: str) -> None:
    settings, long = KINDS[name]
    async with DevEngine(grpc_port=0, sweep=0.5, **settings) as engine:
        status, printed = await conformance(engine, "--grpc", engine.grpc_target)
    assert status == 0, printed
    assert name in printed
    assert len(re.findall(long, printed)) == 2, printed
    assert "1 of 1 are answered as recorded" in printed
    assert printed.count("REST:") == printed.count("gRPC:") == len(ALONE + TOGETHER)


async def test_an_engine_that_fails() -> None:
    async with DevEngine() as engine:
        engine.faults.always("start_instance", Fault(times=0, answer="error"))
        status, printed = await conformance(engine)
    assert status == 1
    assert "injected fault" in printed
    assert "Traceback" not in printed


async def test_recorded_cases_carry_an_access_token(tmp_path: Path) -> None:
    (tmp_path / "id").write_text(CLIENT_ID)
    (tmp_path / "secret").write_text(CLIENT_SECRET)
    facts = Facts(fenced=Answer.YES, renewable=Answer.YES)
    async with token_server() as server, DevEngine(gateway=Gateway(accepts=server.accepts)) as engine:
        settings = load(
            engine_url=engine.url,
            engine_oauth_token_url=server.url,
            engine_oauth_client_id_file=str(tmp_path / "id"),
            engine_oauth_client_secret_file=str(tmp_path / "secret"),
        )
        [found] = await asyncio.to_thread(lambda: list(replayed(settings, facts, CASES)))
    assert found.found == "1 of 1 are answered as recorded (generation D)"
    assert (len(server.issued), server.refused) == (1, [])
