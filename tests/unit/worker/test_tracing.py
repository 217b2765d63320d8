"""Traces of attempts: their ids, their spans, what the engine is told, and spans that nobody takes."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from rochallor_worker import Job, NonRetryableError, Postpone, Registry
from rochallor_worker.devengine.model.ulid import Ulids
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import StartError, Unreachable
from rochallor_worker.events import Event
from rochallor_worker.logger import job_keys
from rochallor_worker.observability.exporting import Exporting
from rochallor_worker.observability.tracing import Even, Traces, span_of, trace_id_of
from rochallor_worker.traces import trace_id, traceparent, wanted
from unit.worker.engines import FaultyEngine, definition
from unit.worker.running import registry_of, running, start
from waiting import until, wait_until

T = TypeVar("T")
ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> Iterator[Traces]:
    traces = Traces("w", exporter)
    yield traces
    traces.close()


class Engine(FaultyEngine):
    """Remembers which span was active during each call."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.parents: list[tuple[str, str]] = []

    async def call(self, name: str, action: Callable[[], T]) -> T:
        self.parents.append((name, traceparent()))
        return await super().call(name, action)

    def told(self, name: str) -> list[str]:
        return [parent for called, parent in self.parents if called == name]


def spans(traces: Traces, exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """The spans of one attempt by name; a `handler` that comes twice is the last one."""
    traces.close()
    return {span.name: span for span in exporter.get_finished_spans()}


async def happened(events: Sequence[Event], name: str, times: int = 1) -> None:
    await until(lambda: sum(type(event).__name__ == name for event in events) >= times)


def id_in(parent: str) -> str:
    return parent.split("-")[2]


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("rochallor."): value for name, value in (span.attributes or {}).items()}


# ids


def test_the_trace_of_an_instance_is_its_ulid() -> None:
    # the example of ULID's specification, as UUID
    assert f"{trace_id_of(ULID):032x}" == "01563e3ab5d3d6764c61efb99302bd5b"
    assert trace_id_of("7" + "Z" * 25) == (1 << 128) - 1


@pytest.mark.parametrize(
    "other", ["", "0" * 26, "8" + "0" * 25, ULID.lower(), ULID[:-1], ULID + "0", "ü\ud800", "I" * 26]
)
def test_an_id_that_is_no_ulid_is_hashed(other: str) -> None:
    number = trace_id_of(other)
    assert number == trace_id_of(other)
    assert 0 < number < 1 << 128
    assert number != trace_id_of(other + "x")


def test_a_valid_traceparent_names_a_span() -> None:
    found = span_of(PARENT)
    assert found is not None
    assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == tuple(PARENT.split("-")[1:3])
    assert (found.is_remote, found.trace_flags.sampled) == (True, True)
    assert span_of("01" + PARENT[2:] + "-later-versions-have-more") is not None


@pytest.mark.parametrize(
    "text", [None, 7, "", "x" * 55, PARENT.upper(), "ff" + PARENT[2:], f"00-{'0' * 32}-{'1' * 16}-01", PARENT[:-1]]
)
def test_another_value_names_none(text: object) -> None:
    assert span_of(text) is None


def test_ids_that_an_engine_counts_up_are_sampled_evenly() -> None:
    ulids, sampler = Ulids(), Even(TraceIdRatioBased(0.1))
    ids = [trace_id_of(ulids.next(1_700_000_000 + n // 100)) for n in range(20_000)]
    taken = [sampler.should_sample(None, number, "").decision is Decision.RECORD_AND_SAMPLE for number in ids]
    assert 1_800 < sum(taken) < 2_200
    assert all(0 < sum(taken[begin : begin + 200]) < 60 for begin in range(0, len(taken), 200))
    assert sampler.get_description() == "TraceIdRatioBased{0.1}"


# on or off


def test_an_endpoint_switches_tracing_on() -> None:
    assert wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://o"})
    assert wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://o/v1/traces", "OTEL_TRACES_EXPORTER": "otlp"})


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "TRUE"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}]
)
def test_it_is_off_without_or_when_switched_off(off: dict[str, str]) -> None:
    assert not wanted({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://o", **off})
    assert not wanted({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_SCHEDULE_DELAY", "99999999999999"),
    ],
)
def test_what_cannot_be_followed_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError, match=f"{name}='{value}'"):
        Traces("w")


def test_the_spans_are_of_the_worker_unless_the_variables_say_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    def resource() -> dict[str, Any]:
        traces, exporter = Traces("w", finished := InMemorySpanExporter()), finished
        with traces.attempt(ClaimedJob(id="j", instance_id=ULID, job_type="a"), 0.0):
            pass
        return dict(spans(traces, exporter)["job a"].resource.attributes)

    given = resource()
    assert (given["service.name"], given["service.instance.id"]) == ("rochallor-worker", "w")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "payments")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=7,team=blue")
    given = resource()
    assert (given["service.name"], given["service.instance.id"], given["team"]) == ("payments", "7", "blue")
    monkeypatch.delenv("OTEL_SERVICE_NAME")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop, our.service.instance.id=8")
    given = resource()
    assert (given["service.name"], given["service.instance.id"]) == ("shop", "w")
    assert given["our.service.instance.id"] == "8"


# the spans of an attempt


@pytest.mark.looptime
async def test_an_attempt_is_one_trace_with_its_parts(traces: Traces, exporter: InMemorySpanExporter) -> None:
    engine = Engine()
    seen: dict[str, Any] = {}
    kept: dict[str, Any] = {}

    async def a(job: Job) -> None:
        kept.update(id=job.id, key=job.key)
        with traces.tracer.start_as_current_span("its own"):
            await job.instance()
        seen["trace"], seen["keys"] = trace_id(), job_keys()["trace_id"]
        seen["log"] = (job.log.extra or {})["trace_id"]

    [instance] = await start(engine, "a")
    async with running(engine, registry_of(a=a)) as (runner, events):
        runner.trace_with(traces)
        await happened(events, "Reported")
    found = spans(traces, exporter)
    assert set(found) == {"job a", "claim", "handler", "its own", "report"}
    attempt = found["job a"]
    assert {f"{span.context.trace_id:032x}" for span in found.values() if span.context} == {
        f"{trace_id_of(instance):032x}"
    }
    assert set(seen.values()) == {f"{trace_id_of(instance):032x}"}
    assert attempt.parent is None
    parents = {name: f"{span.parent.span_id:016x}" for name, span in found.items() if span.parent}
    assert parents == {
        **dict.fromkeys(("claim", "handler", "report"), id_of(attempt)),
        "its own": id_of(found["handler"]),
    }
    assert found["claim"].start_time == attempt.start_time
    assert (attempt.kind, found["report"].kind) == (SpanKind.CONSUMER, SpanKind.CLIENT)
    assert attributes(attempt) == {
        "job_type": "a",
        "instance_id": instance,
        "job_id": kept["id"],
        "key": kept["key"],
        "worker_id": "w",
        "attempt": 1,
        "outcome": "completed",
        "verdict": "accepted",
    }
    assert attributes(found["handler"]) == {"outcome": "completed"}
    assert attributes(found["report"]) == {"outcome": "completed", "verdict": "accepted"}
    assert all(span.status.status_code is StatusCode.UNSET for span in found.values())
    # what the engine is told: nothing in polls, and else the part that calls
    assert set(engine.told("poll_jobs")) == {""}
    assert [id_in(parent) for parent in engine.told("get_instance")] == [id_of(found["handler"])]
    assert [id_in(parent) for parent in engine.told("complete_job")] == [id_of(found["report"])]
    assert {parent[-3:] for parent in engine.told("complete_job")} == {"-01"}
    assert traceparent() == ""


async def one(
    traces: Traces, function: Callable[[Job], Any], *, retries: int = 0, engine: Engine | None = None, last: str
) -> Engine:
    """Run one job of `function`, until the event `last`."""
    engine = engine or Engine()
    await start(engine, "a", retries=retries)
    async with running(engine, registry_of(a=function)) as (runner, events):
        runner.trace_with(traces)
        await happened(events, last)
    return engine


@pytest.mark.looptime
async def test_a_failure_is_an_error_without_its_message(traces: Traces, exporter: InMemorySpanExporter) -> None:
    async def a(_: Job) -> None:
        raise NonRetryableError("card 4711")

    engine = await one(traces, a, last="Reported")
    found = spans(traces, exporter)
    assert {name: span.status.status_code for name, span in found.items()} == {
        "job a": StatusCode.ERROR,
        "claim": StatusCode.UNSET,
        "handler": StatusCode.ERROR,
        "report": StatusCode.ERROR,
    }
    assert attributes(found["job a"])["outcome"] == "failed_final"
    assert "4711" not in "".join(span.to_json() for span in found.values())
    assert [id_in(parent) for parent in engine.told("fail_job")] == [id_of(found["report"])]


@pytest.mark.looptime
async def test_a_postponed_job_is_one_attempt(traces: Traces, exporter: InMemorySpanExporter) -> None:
    runs: list[int] = []

    async def a(_: Job) -> None:
        runs.append(1)
        if len(runs) == 1:
            raise Postpone("later", after=1)

    await one(traces, a, last="Reported")
    found = spans(traces, exporter)
    names = [span.name for span in exporter.get_finished_spans()]
    assert names == ["claim", "handler", "handler", "report", "job a"]
    outcomes = [attributes(span).get("outcome") for span in exporter.get_finished_spans()]
    assert outcomes == [None, "postponed", "completed", "completed", "completed"]
    assert found["job a"].status.status_code is StatusCode.UNSET


@pytest.mark.looptime
async def test_a_job_that_is_given_up_is_postponed(traces: Traces, exporter: InMemorySpanExporter) -> None:
    async def a(_: Job) -> None:
        raise Postpone("later", after=100)

    await one(traces, a, last="Parked")
    assert attributes(spans(traces, exporter)["job a"])["outcome"] == "postponed"


@pytest.mark.looptime
async def test_a_run_that_is_cut_off_says_so(traces: Traces, exporter: InMemorySpanExporter) -> None:
    async def a(_: Job) -> None:
        await asyncio.sleep(1000)

    engine = Engine()
    await start(engine, "a")
    async with running(engine, registry_of(a=a), drain_timeout=0.1) as (runner, events):
        runner.trace_with(traces)
        await happened(events, "Started")
    found = spans(traces, exporter)
    assert attributes(found["handler"]) == {"outcome": "cut_off"}
    assert attributes(found["job a"])["outcome"] == "cut_off"
    assert "report" not in found


@pytest.mark.looptime
async def test_a_job_that_cannot_start_in_time_is_not_run(traces: Traces, exporter: InMemorySpanExporter) -> None:
    async def a(_: Job) -> None: ...

    engine = Engine(before=lambda name, _: Unreachable("away") if name == "get_instance" else None)
    without = engine.poll_jobs

    async def poll(*arguments: Any, **options: Any) -> list[ClaimedJob]:
        jobs = await without(*arguments, **options)
        return [ClaimedJob(id=job.id, instance_id=job.instance_id, job_type="a") for job in jobs]

    engine.poll_jobs = poll  # type: ignore[method-assign]
    await one(traces, a, engine=engine, last="ClaimExpired")
    found = spans(traces, exporter)
    assert set(found) == {"job a", "claim"}
    assert attributes(found["job a"])["outcome"] == "not_run"
    assert {id_in(parent) for parent in engine.told("get_instance")} == {id_of(found["job a"])}


@pytest.mark.looptime
async def test_renewals_belong_to_the_attempt(traces: Traces, exporter: InMemorySpanExporter) -> None:
    async def a(_: Job) -> None:
        await asyncio.sleep(25)

    engine = await one(traces, a, last="Reported")
    told = engine.told("extend_lease")
    assert len(told) >= 1
    assert {id_in(parent) for parent in told} == {id_of(spans(traces, exporter)["job a"])}


@pytest.mark.looptime
async def test_a_traceparent_in_the_variables_is_a_link(traces: Traces, exporter: InMemorySpanExporter) -> None:
    async def a(_: Job) -> dict[str, Any]:
        return {"traceparent": "no longer one"}

    engine = Engine()
    await engine.upload_definition(definition("a", "a"))
    await engine.start_instance("d", {"traceparent": PARENT})
    async with running(engine, registry_of(a=a)) as (runner, events):
        runner.trace_with(traces)
        await happened(events, "Reported", 2)
    traces.close()
    first, second = [span for span in exporter.get_finished_spans() if span.name == "job a"]
    assert [f"{link.context.span_id:016x}" for link in first.links] == ["b7ad6b7169203331"]
    assert list(second.links) == []
    assert first.context is not None
    assert second.context is not None
    assert first.context.trace_id == second.context.trace_id


@pytest.mark.looptime
async def test_an_instance_that_is_not_sampled_costs_no_span(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    traces, inside = Traces("w", exporter), []

    async def a(_: Job) -> None:
        inside.append(trace.get_current_span().get_span_context().trace_id)
        with traces.tracer.start_as_current_span("its own"):
            pass

    engine = await one(traces, a, last="Reported")
    assert spans(traces, exporter) == {}
    [instance] = engine.state.instances
    assert inside == [trace_id_of(instance)]
    [told] = engine.told("complete_job")
    assert told.startswith(f"00-{trace_id_of(instance):032x}-")
    assert told.endswith("-00")


@pytest.mark.looptime
async def test_without_tracing_the_engine_is_told_nothing() -> None:
    async def a(job: Job) -> None:
        assert "trace_id" not in job_keys()
        await job.instance()

    engine = Engine()
    await start(engine, "a")
    async with running(engine, registry_of(a=a)) as (_, events):
        await happened(events, "Reported")
    assert {parent for _, parent in engine.parents} == {""}


@pytest.mark.looptime
async def test_a_handler_in_a_thread_has_the_span_too(traces: Traces, exporter: InMemorySpanExporter) -> None:
    registry = Registry()

    @registry.handler("a")
    def a(_: Job) -> None:
        with traces.tracer.start_as_current_span("its own"):
            assert threading.current_thread() is not threading.main_thread()

    engine = Engine()
    await start(engine, "a")
    async with running(engine, registry) as (runner, events):
        runner.trace_with(traces)
        await happened(events, "Reported")
    found = spans(traces, exporter)
    assert found["its own"].parent is not None
    assert f"{found['its own'].parent.span_id:016x}" == id_of(found["handler"])


@pytest.mark.looptime
async def test_a_handler_may_write_to_its_span(traces: Traces, exporter: InMemorySpanExporter) -> None:
    async def a(_: Job) -> None:
        span = trace.get_current_span()
        assert span.is_recording()
        span.set_attributes({"size": 3})
        span.set_attribute("colour", "red")
        span.add_event("packed")
        span.add_link(trace.SpanContext(1, 2, is_remote=True))
        span.update_name("pack")
        span.record_exception(ValueError("slow"))
        span.set_status(StatusCode.OK)
        with traces.tracer.start_as_current_span("its own"):
            pass

    await one(traces, a, last="Reported")
    found = spans(traces, exporter)
    assert set(found) == {"job a", "claim", "pack", "its own", "report"}
    written = found["pack"]
    assert attributes(written) == {"size": 3, "colour": "red", "outcome": "completed"}
    assert [event.name for event in written.events] == ["packed", "exception"]
    assert [link.context.span_id for link in written.links] == [2]
    assert written.status.status_code is StatusCode.OK
    assert written.parent is not None
    assert f"{written.parent.span_id:016x}" == id_of(found["job a"])
    assert found["its own"].parent is not None
    assert f"{found['its own'].parent.span_id:016x}" == id_of(written)


@pytest.mark.looptime
async def test_a_task_that_outlives_its_job_has_no_span_of_it(traces: Traces) -> None:
    left: list[asyncio.Task[tuple[str, str]]] = []
    over = asyncio.Event()

    async def a(_: Job) -> None:
        async def later() -> tuple[str, str]:
            during = trace_id()
            await over.wait()
            return during, trace_id()

        left.append(asyncio.create_task(later()))
        await asyncio.sleep(0)

    engine = await one(traces, a, last="Reported")
    over.set()
    [instance] = engine.state.instances
    assert await left[0] == (f"{trace_id_of(instance):032x}", "")


# spans that nobody takes


class Away(SpanExporter):
    """Takes nothing until it is back; `hold` keeps it waiting meanwhile."""

    def __init__(self, *, hold: bool = False) -> None:
        self.away = True
        self.taken = 0
        self.asked = threading.Event()
        self.go_on = threading.Event()
        if not hold:
            self.go_on.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.go_on.wait(60)
        if self.away:
            return SpanExportResult.FAILURE
        self.taken += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.go_on.set()


def ended(number: int, name: str = "s", **attributes: int) -> list[ReadableSpan]:
    finished = InMemorySpanExporter()
    traces = Traces("w", finished)
    for _ in range(number):
        traces.tracer.start_span(name, attributes=attributes).end()
    traces.close()
    return list(finished.get_finished_spans())


def test_spans_that_cannot_be_exported_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    exporter = Away()
    exporting = Exporting(exporter, most=100, batch=2, delay=60)
    spans = ended(8)
    for span in spans[:2]:
        exporting.on_end(span)
    wait_until(lambda: exporting.dropped == 2)
    exporter.away = False
    for span in spans[2:6]:
        exporting.on_end(span)
    wait_until(lambda: exporter.taken == 4)
    exporting.close(30)
    exporting.on_end(spans[6])
    assert (exporting.dropped, exporter.taken) == (3, 4)
    assert [record.levelname for record in caplog.records if "export" in record.getMessage()] == ["WARNING", "INFO"]


def test_too_many_that_wait_are_dropped_and_counted() -> None:
    exporter = Away(hold=True)
    exporting = Exporting(exporter, most=4, batch=2, delay=60)
    spans = ended(10)
    for span in spans[:2]:
        exporting.on_end(span)
    assert exporter.asked.wait(30)
    for span in spans[2:]:
        exporting.on_end(span)
    assert exporting.dropped == 4  # two are being sent, four wait
    exporter.away = False
    exporter.go_on.set()
    exporting.close(30)
    assert (exporting.dropped, exporter.taken) == (4, 6)


def test_what_waits_is_exported_at_the_end() -> None:
    exporter = Away()
    exporter.away = False
    exporting = Exporting(exporter, most=100, batch=10, delay=60)
    for span in ended(25):
        exporting.on_end(span)
    exporting.close(30)
    assert (exporting.dropped, exporter.taken) == (0, 25)


def test_the_end_waits_for_no_exporter() -> None:
    exporter = Away(hold=True)
    exporting = Exporting(exporter, most=100, batch=2, delay=60)
    for span in ended(5):
        exporting.on_end(span)
    assert exporter.asked.wait(30)
    exporting.close(0.01)
    assert exporting.dropped == 5


class Encoding(Away):
    """Encodes what it takes, as the real one does."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans)
        return super().export(spans)


def test_a_span_that_cannot_be_encoded_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    exporter = Encoding()
    exporting = Exporting(exporter, most=100, batch=3, delay=60)
    for span in (*ended(1), *ended(1, name="\ud800"), *ended(1)):
        exporting.on_end(span)
    exporting.close(30)
    assert (exporting.dropped, exporter.taken) == (1, 2)
    assert "spans cannot be encoded, and are dropped" in caplog.text


def test_an_attribute_that_cannot_be_encoded_costs_a_line_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    [span], exporter = ended(1, n=2**70), Encoding()
    exporting = Exporting(exporter, most=100, batch=1, delay=60)
    exporting.on_end(span)
    exporting.close(30)
    assert (exporting.dropped, exporter.taken) == (0, 1)
    [line] = [record for record in caplog.records if "Failed to encode" in record.getMessage()]
    assert line.exc_info is None


def test_of_a_collectors_answer_only_a_line_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Chatty(Away):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            logging.getLogger(OTLPSpanExporter.__module__).error("Failed: %s", "<p>no</p>\n" * 10_000)
            return super().export(spans)

    exporting = Exporting(Chatty(), most=100, batch=1, delay=60)
    exporting.on_end(ended(1)[0])
    wait_until(lambda: exporting.dropped == 1)
    exporting.close(30)
    [line] = [record.getMessage() for record in caplog.records if "exported" in record.getMessage()]
    assert "Failed: <p>no</p> <p>no</p>" in line
    assert len(line) < 600


def test_an_error_of_the_library_costs_only_the_spans() -> None:
    class Broken(Away):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.asked.set()
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates")

    exporter = Broken()
    exporting = Exporting(exporter, most=100, batch=1, delay=60)
    exporting.on_end(ended(1)[0])
    assert exporter.asked.wait(30)
    exporting.close(30)
    assert exporting.dropped == 1
