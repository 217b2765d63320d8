"""Traces of real worker processes: one for each instance, whichever workers ran it, and none that a job waits for."""

import asyncio
import json
import signal
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from integration.worker.conftest import Worker, worker_process
from otlp import Receiver, receiving, values
from rochallor_worker import RestClient
from rochallor_worker.devengine import DevEngine
from rochallor_worker.observability.exporting import CLOSE_SECONDS
from rochallor_worker.observability.tracing import trace_id_of
from unit.worker.engines import definition
from waiting import until

pytestmark = pytest.mark.timeout(240)

HANDLERS = """
import asyncio, logging, os, sys
from rochallor_worker import Job, Registry

registry = Registry()

def traced():
    from opentelemetry import trace
    return trace.get_tracer("shop").start_as_current_span("its own")

@registry.handler("async")
async def asynchronous(job: Job) -> None:
    while os.path.exists("wait"):
        await asyncio.sleep(0.01)
    with traced():
        await job.instance()

@registry.handler("thread")
def threaded(job: Job) -> None:
    with traced():
        logging.getLogger("shop").warning("seen")

@registry.handler("child", executor="process")
def child(job: Job) -> dict:
    from opentelemetry import trace
    span = trace.get_current_span().get_span_context()
    logging.getLogger("shop").warning("seen in a child")
    asyncio.run(job.instance())
    return {"trace": f"{span.trace_id:032x}", "span": f"{span.span_id:016x}"}

@registry.handler("plain")
async def plain(job: Job) -> dict:
    return {"imported": "opentelemetry" in sys.modules}
"""


def otlp(url: str, **more: str) -> dict[str, str]:
    """The variables of a worker that exports there, often."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100", **more}


async def start(engine: DevEngine, *job_types: str, count: int = 1) -> None:
    async with RestClient(engine.url) as client:
        await client.upload_definition(definition(*job_types))
        for _ in range(count):
            await client.start_instance("d")


def completed(engine: DevEngine) -> int:
    return sum(instance.status == "COMPLETED" for instance in engine.state.instances.values())


def claimers(engine: DevEngine) -> set[str]:
    return {event.worker_id for event in engine.state.log if event.kind == "claim"}


def lines(worker: Worker, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, worker.log.splitlines()) if line["event"] == event]


async def stopped(worker: Worker) -> float:
    """Stop a worker; return how long it took, by its log, from the signal to the end of its drain."""
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended() == 0
    [began], [ended] = lines(worker, "stopping"), lines(worker, "stopped")
    return (datetime.fromisoformat(ended["timestamp"]) - datetime.fromisoformat(began["timestamp"])).total_seconds()


async def test_an_instance_is_one_trace_over_workers_and_a_restart(engine: DevEngine, tmp_path: Path) -> None:
    steps = ("async", "thread", "async")
    wait = tmp_path / "wait"
    async with receiving() as receiver:
        variables = otlp(receiver.url)
        async with (
            worker_process(tmp_path, engine.url, variables, code=HANDLERS, worker_id="first", parallelism="2") as first,
            worker_process(
                tmp_path, engine.url, variables, code=HANDLERS, worker_id="second", parallelism="2"
            ) as other,
        ):
            await asyncio.gather(first.started(), other.started())
            wait.touch()
            await start(engine, *steps, count=25)
            await until(lambda: claimers(engine) == {"first", "second"})
            wait.unlink()
            await until(lambda: completed(engine) >= 5)
            await stopped(first)
            again = worker_process(tmp_path, engine.url, variables, code=HANDLERS, worker_id="third", parallelism="2")
            async with again as third:
                await third.started()
                wait.touch()
                await start(engine, *steps, count=25)
                await until(lambda: "third" in claimers(engine))
                wait.unlink()
                await until(lambda: completed(engine) == 50)
                await asyncio.gather(stopped(other), stopped(third))
        seen = lines(first, "seen") + lines(other, "seen") + lines(third, "seen")
    instances = {trace_id_of(instance).to_bytes(16, "big"): instance for instance in engine.state.instances}
    assert {span.trace_id for span in receiver.spans} == set(instances)
    assert len(instances) == 50
    assert receiver.orphans == []
    assert {name: len(receiver.named(name)) for name in ("claim", "handler", "its own", "report")} == dict.fromkeys(
        ("claim", "handler", "its own", "report"), 150
    )
    attempts = receiver.named("job async") + receiver.named("job thread")
    assert len(attempts) == 150
    assert not any(span.parent_span_id for span in attempts)
    assert {values(span)["rochallor.worker_id"] for span in attempts} == {"first", "second", "third"}
    assert all(values(span)["rochallor.instance_id"] == instances[span.trace_id] for span in attempts)
    assert {span.parent_span_id for span in receiver.named("its own")} == {
        span.span_id for span in receiver.named("handler")
    }
    assert Counter(line["trace_id"] for line in seen) == dict.fromkeys((span.hex() for span in instances), 1)
    assert {resource["service.name"] for resource in receiver.resources} == {"rochallor-worker"}


async def test_a_child_knows_the_span_of_its_handler(engine: DevEngine, tmp_path: Path) -> None:
    async with (
        receiving() as receiver,
        worker_process(tmp_path, engine.url, otlp(receiver.url), code=HANDLERS, processes="1") as worker,
    ):
        await worker.started()
        await start(engine, "child", count=2)
        await until(lambda: completed(engine) == 2)
        await stopped(worker)
    spans = {span.trace_id.hex(): span.span_id.hex() for span in receiver.named("handler")}
    told = [instance.variables for instance in engine.state.instances.values()]
    assert {variables["trace"]: variables["span"] for variables in told} == spans
    assert {line["instance_id"]: line["trace_id"] for line in lines(worker, "seen in a child")} == {
        instance: f"{trace_id_of(instance):032x}" for instance in engine.state.instances
    }


async def test_an_exporter_that_is_away_costs_spans_and_no_job(
    engine: DevEngine, tmp_path: Path, closed_port: int
) -> None:
    variables = otlp(f"http://127.0.0.1:{closed_port}", OTEL_EXPORTER_OTLP_TIMEOUT="0.5")
    async with worker_process(tmp_path, engine.url, variables, code=HANDLERS) as worker:
        await worker.started()
        await start(engine, "async", "thread", "async", count=20)
        await until(lambda: completed(engine) == 20)
        await worker.shows("rochallor_worker_spans_dropped_total", 20 * 3 * 5)
        await worker.shows("rochallor_worker_jobs_total", 60)
        assert await stopped(worker) < CLOSE_SECONDS
    assert len(lines(worker, "spans cannot be exported, and are dropped")) == 1
    assert [line["dropped"] for line in lines(worker, "spans were dropped")] == [300]


async def test_a_receiver_that_never_answers_does_not_hold_up_the_end(engine: DevEngine, tmp_path: Path) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    variables = otlp(url, OTEL_EXPORTER_OTLP_TIMEOUT="200")
    async with worker_process(tmp_path, engine.url, variables, code=HANDLERS) as worker:
        await worker.started()
        await start(engine, "async", count=10)
        await until(lambda: completed(engine) == 10)
        await asked.wait()
        assert await stopped(worker) < 30  # a second; the exporter would wait for 200
    over.set()
    server.close()
    assert [line["dropped"] for line in lines(worker, "spans were dropped")] == [50]


async def test_what_waits_is_exported_after_the_last_outcome(engine: DevEngine, tmp_path: Path) -> None:
    async with receiving() as receiver:
        variables = otlp(receiver.url, OTEL_BSP_SCHEDULE_DELAY="100000")
        async with worker_process(tmp_path, engine.url, variables, code=HANDLERS) as worker:
            await worker.started()
            await start(engine, "async", count=3)
            await until(lambda: completed(engine) == 3)
            assert receiver.spans == []
            await stopped(worker)
    assert len(receiver.named("report")) == 3


@pytest.mark.parametrize(
    ("variables", "imported"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, True),
    ],
    ids=["unset", "disabled", "not supported"],
)
async def test_a_worker_without_traces_runs_as_ever(
    engine: DevEngine, tmp_path: Path, variables: dict[str, str], imported: bool
) -> None:
    async with worker_process(tmp_path, engine.url, variables, code=HANDLERS) as worker:
        await worker.started()
        await start(engine, "plain")
        await until(lambda: completed(engine) == 1)
        assert "rochallor_worker_spans_dropped" not in (await worker.get("/metrics")).text
        await stopped(worker)
    [instance] = engine.state.instances.values()
    assert instance.variables["imported"] is imported
    assert bool(lines(worker, "traces are not exported")) is imported


def test_a_receiver_knows_an_orphan() -> None:
    parent, child = Span(trace_id=b"t", span_id=b"p"), Span(trace_id=b"t", span_id=b"c", parent_span_id=b"p")
    assert Receiver(spans=[parent, child]).orphans == []
    assert Receiver(spans=[child]).orphans == [child]
