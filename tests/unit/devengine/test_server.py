"""The dev engine as a process of its own."""

import asyncio
import re
import signal
import sys

import httpx
import pytest

from rochallor_worker.devengine import DevEngine

SERVE = "import sys; from rochallor_worker.devengine.server import run; sys.exit(run('127.0.0.1', int(sys.argv[1])))"


async def serve(port: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(port), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
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
