from collections.abc import AsyncIterator

import httpx
import pytest

from rochallor_worker import Registry, Runner, StartError
from rochallor_worker.health import serve
from rochallor_worker.metrics import Metrics
from rochallor_worker.pulse import Pulse
from unit.worker.engines import FaultyEngine, loop_time


@pytest.fixture
async def runner() -> Runner:
    registry = Registry()

    @registry.handler("a")
    async def a(_: object) -> None: ...

    return Runner(FaultyEngine(), registry, worker_id="w", clock=loop_time)


@pytest.fixture
async def http(runner: Runner) -> AsyncIterator[httpx.AsyncClient]:
    metrics = Metrics(runner, Pulse(runner.slots, loop_time), transport="rest", worker_id="w")
    async with (
        serve(runner, metrics, lambda: "the page", 0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


async def test_ready_from_the_first_answer_of_the_engine_until_the_drain(
    runner: Runner, http: httpx.AsyncClient
) -> None:
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.text) == (
        503,
        "EngineUnreachable: the engine has not answered a poll yet\n",
    )
    await runner.source.take(1)
    assert (await http.get("/readyz")).status_code == 200
    runner.stop()
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "Draining: no more jobs are taken\n")
    assert (await http.get("/livez")).status_code == 200


async def test_a_leaked_slot_is_reason_to_restart(runner: Runner, http: httpx.AsyncClient) -> None:
    await runner.slots.reserve(1)
    runner.slots.occupy()
    answer = await http.get("/livez")
    assert (answer.status_code, answer.text) == (503, "slots have leaked: more are taken than jobs run\n")


async def test_metrics_are_served_as_prometheus_wants_them(http: httpx.AsyncClient) -> None:
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "rochallor_worker_slots 64.0" in answer.text
    assert "process_resident_memory_bytes" in answer.text


async def test_a_taken_port_is_a_start_error(runner: Runner, http: httpx.AsyncClient) -> None:
    metrics = Metrics(runner, Pulse(runner.slots, loop_time), transport="rest", worker_id="w")
    port = http.base_url.port
    assert port is not None
    with pytest.raises(StartError, match=rf"ROCHALLOR_METRICS_PORT: cannot listen on port {port}"):
        async with serve(runner, metrics, lambda: "", port):
            pass
