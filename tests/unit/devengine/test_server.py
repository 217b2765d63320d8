"""The dev engine as a process of its own."""

import asyncio
import re
import signal
import sys

import httpx
import pytest

from rochallor_worker.devengine import DevEngine
from rochallor_worker.engine.grpc import GrpcClient

SERVE = """
import sys
from rochallor_worker.devengine.server import run
sys.exit(run('127.0.0.1', *map(int, sys.argv[1:])))
"""


async def serve(*ports: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVE,
        *map(str, ports),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def output(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_stops_at_once_when_told(signal_number: signal.Signals) -> None:
    process = await serve(0)
    try:
        line = (await output(process)).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        async with httpx.AsyncClient(base_url=found[0]) as http:  # its idle connection must not hold the stop up
            assert (await http.get("/healthz")).status_code == 200
            process.send_signal(signal_number)
            async with asyncio.timeout(5):
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_taken_port_is_one_clear_line() -> None:
    async with DevEngine() as engine:
        port = int(engine.url.rsplit(":", 1)[1])
        process = await serve(port)
        line = (await output(process)).decode()
        assert line.startswith(f"dev-engine: cannot listen on 127.0.0.1:{port}: ")
        assert await output(process) == b""
        assert await process.wait() == 2


async def test_grpc_is_served_at_a_port_of_its_own() -> None:
    process = await serve(0, 0)
    try:
        line = (await output(process)).decode()
        found = re.search(r"grpc\W+(127\.0\.0\.1:\d+)", re.sub(r"\x1b\[[\d;]*m", "", line))
        assert found, line
        async with GrpcClient(found[1]) as client:
            assert (await client.list_definitions()).total == 0
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_taken_grpc_port_is_named_too() -> None:
    async with DevEngine(grpc_port=0) as engine:
        port = int(engine.grpc_target.rsplit(":", 1)[1])
        process = await serve(0, port)
        async with asyncio.timeout(30):
            text, _ = await process.communicate()
        assert f"dev-engine: cannot listen on 127.0.0.1:0 and {port}: " in text.decode()
        assert "Traceback" not in text.decode()
        assert process.returncode == 2


async def test_whoever_does_not_ask_for_grpc_does_not_load_it() -> None:
    text = "import sys, rochallor_worker, rochallor_worker.devengine, rochallor_worker.engine.fake"
    text += "; sys.exit('grpc' in sys.modules or 'google.protobuf' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", text)
    assert await process.wait() == 0
