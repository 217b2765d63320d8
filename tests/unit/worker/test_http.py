import asyncio
import re
import socket
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha256

import httpx
import pytest

from rochallor_worker import Registry, Runner, StartError
from rochallor_worker.observability.http import serve
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler
from unit.worker.engines import FaultyEngine, loop_time, unused


@pytest.fixture
async def runner() -> Runner:
    registry = Registry()

    @registry.handler("a")
    async def a(_: object) -> None: ...

    return Runner(FaultyEngine(), registry, worker_id="w", clock=loop_time)


@pytest.fixture
async def http(runner: Runner) -> AsyncIterator[httpx.AsyncClient]:
    metrics = Metrics(runner, Sampler(runner.slots, runner.gates, loop_time), transport="rest", worker_id="w")
    async with (
        serve(runner, metrics, lambda: b"{}", 0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        yield client


async def test_ready_from_the_first_answer_of_the_engine_until_the_drain(
    runner: Runner, http: httpx.AsyncClient
) -> None:
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.text) == (
        503,
        "Starting: the engine has not answered the first poll yet\n",
    )
    await runner.lanes[0].source.take(1, unused)
    assert (await http.get("/readyz")).status_code == 200
    runner.stop()
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "Draining: no more jobs are taken\n")
    assert (await http.get("/livez")).status_code == 200


async def test_a_leaked_slot_makes_the_worker_unhealthy(runner: Runner, http: httpx.AsyncClient) -> None:
    await runner.lanes[0].slots.reserve(1)
    runner.lanes[0].slots.occupy()
    answer = await http.get("/livez")
    assert (answer.status_code, answer.text) == (503, "slots have leaked: more are busy than jobs run\n")


async def test_metrics_are_served_in_prometheus_format(http: httpx.AsyncClient) -> None:
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "rochallor_worker_slots 64.0" in answer.text
    assert "process_resident_memory_bytes" in answer.text


async def test_a_taken_port_is_a_start_error(runner: Runner, http: httpx.AsyncClient) -> None:
    metrics = Metrics(runner, Sampler(runner.slots, runner.gates, loop_time), transport="rest", worker_id="w")
    port = http.base_url.port
    assert port is not None
    with pytest.raises(StartError, match=rf"ROCHALLOR_METRICS_PORT: cannot listen on port {port}"):
        async with serve(runner, metrics, lambda: b"", port):
            pass


async def test_metrics_are_written_once_a_second_for_any_number_of_requests(runner: Runner) -> None:
    metrics = Metrics(runner, Sampler(runner.slots, runner.gates, loop_time), transport="rest", worker_id="w")
    written: list[bytes] = []

    def exposition() -> bytes:
        written.append(b"a 1\n")
        return written[-1]

    metrics.exposition = exposition  # type: ignore[method-assign]
    async with serve(runner, metrics, lambda: b"", 0) as port, httpx.AsyncClient(timeout=60) as client:
        answers = await asyncio.gather(*(client.get(f"http://127.0.0.1:{port}/metrics") for _ in range(50)))
    assert {answer.text for answer in answers} == {"a 1\n"}
    assert len(written) < 25


async def test_incomplete_requests_lock_nobody_out(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rochallor_worker.observability.http.CONNECTIONS", 5)
    assert http.base_url.port is not None
    streams = [await asyncio.open_connection("127.0.0.1", http.base_url.port) for _ in range(20)]
    for _, writer in streams:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: w\r\nX-")
    answer = await http.get("/livez")
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    for reader, _ in streams[:15]:
        with suppress(ConnectionResetError):
            assert await reader.read() == b"", "closed"
    for _, writer in streams:
        writer.close()


async def test_an_incomplete_request_is_not_waited_for(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rochallor_worker.observability.http.CONNECTION_SECONDS", 0.05)
    assert http.base_url.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
    writer.write(b"GET /metrics HTTP/1.1\r\n")
    with suppress(ConnectionResetError):
        assert await reader.read() == b"", "closed"
    writer.close()


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/other", 404), ("POST", "/metrics", 405)])
async def test_other_paths_and_methods_are_refused(
    http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await http.request(method, path)).status_code == status


async def test_it_can_listen_on_one_address(runner: Runner) -> None:
    metrics = Metrics(runner, Sampler(runner.slots, runner.gates, loop_time), transport="rest", worker_id="w")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # it does not listen, and nobody else can listen there meanwhile
        port = held.getsockname()[1]
        async with (
            serve(runner, metrics, lambda: b"", port, "127.0.0.2"),
            httpx.AsyncClient(timeout=60) as client,
        ):
            assert (await client.get(f"http://127.0.0.2:{port}/livez")).status_code == 200
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{port}/livez")


async def test_the_page_may_run_and_fetch_nothing_but_its_own(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    for tag, source in (("script", "script-src"), ("style", "style-src")):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        assert policy[source] == f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"
    assert "innerHTML" not in answer.text
    assert set(re.findall(r"https?://[^\s\"']+", answer.text)) == {"http://www.w3.org/2000/svg"}, "a name, not fetched"


async def test_the_state_is_served_as_json(http: httpx.AsyncClient) -> None:
    answer = await http.get("/status.json")
    assert (answer.headers["content-type"], answer.text) == ("application/json", "{}")
