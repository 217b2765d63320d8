"""The dev engine as a separate process."""

import asyncio
import json
import re
import signal
import sys
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from rochallor_worker.devengine import DevEngine
from rochallor_worker.engine.grpc.client import GrpcClient
from waiting import child

from .definitions import ORDER

SERVE = """
import sys
from rochallor_worker.cli import logs
from rochallor_worker.devengine.server import run
logs.configure("INFO", "text")
sys.exit(run('127.0.0.1', *map(int, sys.argv[1:])))
"""


def serving(*ports: int) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    command = (sys.executable, "-c", SERVE, *map(str, ports))
    return child(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)


async def output(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_it_logs_its_address_and_stops_at_once_on_a_signal(signal_number: signal.Signals) -> None:
    async with serving(0) as process:
        line = (await output(process)).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        async with httpx.AsyncClient(base_url=found[0], timeout=60) as http:
            assert (await http.get("/healthz")).status_code == 200
            process.send_signal(signal_number)
            async with asyncio.timeout(30):  # less than aiohttp waits for idle connections by default
                assert await process.wait() == 0


async def test_a_taken_port_is_one_clear_line() -> None:
    async with DevEngine() as engine:
        port = int(engine.url.rsplit(":", 1)[1])
        async with serving(port) as process:
            line = (await output(process)).decode()
            assert line.startswith(f"dev-engine: cannot listen on 127.0.0.1:{port}: ")
            assert await output(process) == b""
            assert await process.wait() == 2


async def test_grpc_is_served_at_a_port_of_its_own() -> None:
    async with serving(0, 0) as process:
        line = (await output(process)).decode()
        found = re.search(r"grpc\W+(127\.0\.0\.1:\d+)", re.sub(r"\x1b\[[\d;]*m", "", line))
        assert found, line
        async with GrpcClient(found[1], timeout=60) as client:
            assert (await client.list_definitions()).total == 0
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                assert await process.wait() == 0


async def test_a_taken_grpc_port_is_named_too() -> None:
    async with DevEngine(grpc_port=0) as engine:
        port = int(engine.grpc_target.rsplit(":", 1)[1])
        async with serving(0, port) as process, asyncio.timeout(60):
            text, _ = await process.communicate()
        assert f"dev-engine: cannot listen on 127.0.0.1:0 and {port}: " in text.decode()
        assert "Traceback" not in text.decode()
        assert process.returncode == 2


async def test_grpc_and_kafka_are_loaded_only_when_needed() -> None:
    text = "import sys, rochallor_worker, rochallor_worker.devengine, rochallor_worker.devengine.client"
    text += "; sys.exit(any(name in sys.modules for name in ('grpc', 'google.protobuf', 'confluent_kafka')))"
    async with child(sys.executable, "-c", text) as process:
        assert await process.wait() == 0


WITHOUT_GRPC = "import sys; sys.modules['grpc'] = None; from rochallor_worker.cli.main import app; app(sys.argv[1:])"


async def test_without_the_extra_grpc_rest_is_served_alone() -> None:
    command = (sys.executable, "-c", WITHOUT_GRPC, "dev-engine", "--port=0")
    async with child(*command, stderr=asyncio.subprocess.PIPE) as process:
        assert process.stderr is not None
        started = json.loads(await process.stderr.readline())
        assert "grpc" not in started
        async with httpx.AsyncClient(base_url=started["url"], timeout=60) as http:
            assert (await http.get("/healthz")).status_code == 200


async def test_a_grpc_port_needs_the_extra_grpc() -> None:
    command = (sys.executable, "-c", WITHOUT_GRPC, "dev-engine", "--port=0", "--grpc-port=0")
    async with child(*command, stderr=asyncio.subprocess.PIPE) as process, asyncio.timeout(60):
        _, text = await process.communicate()
    line = "gRPC needs the module grpc, which is not installed: pip install 'rochallor-worker[grpc]'"
    assert text.decode() == f"dev-engine: {line}\n"
    assert process.returncode == 2


def command_line(*options: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "rochallor_worker", "dev-engine", "--port=0", "--grpc-port=0", *options)


async def test_the_command_line_takes_kafkas_address_and_turns_polls_off() -> None:
    async with child(*command_line("--kafka=127.0.0.1:1"), stderr=asyncio.subprocess.PIPE) as process:
        assert process.stderr is not None
        started = json.loads(await process.stderr.readline())
        assert started["kafka"] == "127.0.0.1:1"
        async with httpx.AsyncClient(base_url=started["url"], timeout=60) as http:
            poll = await http.post("/v1/jobs/poll", json={"workerId": "w", "jobTypes": ["a"]})
        assert (poll.status_code, poll.json()["dispatch_mode"]) == (410, "kafka_outbox")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await process.wait() == 0


@pytest.mark.parametrize(
    ("options", "renewed"),
    [((), 200), (("--generation=C",), 404), (("--generation=A",), 404), (("--generation=D", "--lease=60"), 200)],
)
async def test_the_command_line_chooses_the_rules(options: tuple[str, ...], renewed: int) -> None:
    async with child(*command_line(*options), stderr=asyncio.subprocess.PIPE) as process:
        assert process.stderr is not None
        url = json.loads(await process.stderr.readline())["url"]
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            await http.post("/v1/definitions", json=ORDER)
            await http.post("/v1/instances", json={"definitionId": "order"})
            [job] = (await http.post("/v1/jobs/poll", json={"workerId": "w", "jobTypes": ["pick"]})).json()["jobs"]
            ends, begins = (datetime.fromisoformat(job[name]) for name in ("lockExpiresAt", "lockedAt"))
            assert (ends - begins).total_seconds() == (60 if "--lease=60" in options else 30)
            answer = await http.post(f"/v1/jobs/{job['id']}/heartbeat", json={"workerId": "w"})
        assert answer.status_code == renewed


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--kafka=broker", "a Kafka address must be host:port, is 'broker'"),
        ("--generation=B", "--generation must be A, C or D, is 'B'"),
    ],
)
async def test_a_bad_option_is_one_clear_line(option: str, line: str) -> None:
    async with child(*command_line(option), stderr=asyncio.subprocess.PIPE) as process, asyncio.timeout(60):
        _, text = await process.communicate()
    assert text.decode() == f"dev-engine: {line}\n"
    assert process.returncode == 2


async def test_an_engine_that_is_killed_loses_nothing_of_its_state_file(tmp_path: Path) -> None:
    file = tmp_path / "state"
    before = None
    for _ in range(2):
        async with child(*command_line(f"--state={file}"), stderr=asyncio.subprocess.PIPE) as process:
            assert process.stderr is not None
            started = json.loads(await process.stderr.readline())
            async with httpx.AsyncClient(base_url=started["url"], timeout=60) as http:
                if before is None:
                    assert (started["state"], started["instances"]) == (str(file), 0)
                    await http.post("/v1/definitions", json=ORDER)
                    await http.post("/v1/instances", json={"definitionId": "order"})
                    [job] = (await http.post("/v1/jobs/poll", json={"workerId": "w", "jobTypes": ["pick"]})).json()[
                        "jobs"
                    ]
                    answer = await http.post(f"/v1/jobs/{job['id']}/complete", json={"workerId": "w", "variables": {}})
                    assert answer.status_code == 204
                    before = (await http.get("/v1/instances")).json()
                    assert before["items"][0]["status"] == "COMPLETED"
                else:
                    assert started["instances"] == 1
                    assert (await http.get("/v1/instances")).json() == before
            process.kill()
            await process.wait()


async def test_one_state_file_serves_one_engine(tmp_path: Path) -> None:
    file = tmp_path / "state"
    async with child(*command_line(f"--state={file}"), stderr=asyncio.subprocess.PIPE) as process:
        assert process.stderr is not None
        await process.stderr.readline()
        async with child(*command_line(f"--state={file}"), stderr=asyncio.subprocess.PIPE) as second:
            _, text = await second.communicate()
    assert text.decode() == f"dev-engine: the state file {file} is in use by another process\n"
    assert second.returncode == 2


async def test_a_state_file_that_cannot_be_written_is_said_to_the_caller(tmp_path: Path) -> None:
    file = tmp_path / "state"
    limited = ("sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *command_line(f"--state={file}"))
    async with child(*limited, stderr=asyncio.subprocess.PIPE) as process:
        assert process.stderr is not None
        started = json.loads(await process.stderr.readline())
        async with httpx.AsyncClient(base_url=started["url"], timeout=60) as http:
            await http.post("/v1/definitions", json=ORDER)
            body = {"definitionId": "order", "variables": {"text": "x" * 40_000}}
            answers = [await http.post("/v1/instances", json=body) for _ in range(4)]
        refused = next(answer.json() for answer in answers if answer.status_code == 500)
        assert refused["reason"].startswith(f"the state file {file} cannot be written: ")
        line = (await process.stderr.readline()).decode()
        assert json.loads(line)["event"] == refused["reason"]


@pytest.mark.parametrize("option", ["--port", "--grpc-port"])
async def test_an_invalid_port_is_refused(option: str) -> None:
    command = command_line(f"{option}=65536")
    async with child(*command, stderr=asyncio.subprocess.PIPE) as process, asyncio.timeout(60):
        _, text = await process.communicate()
    assert f"Invalid value for '{option}'" in text.decode()
    assert process.returncode == 2
