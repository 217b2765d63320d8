"""Traces for OpenTelemetry: one for each instance, whichever workers, transports and restarts its jobs see.

A trace's id is made of the instance's id, so that nothing has to pass it on. Each attempt is a span without a parent:
nobody exports a span of the instance itself, and a view would call all spans below it orphans. Below an attempt's span
are the claim (until its handler starts), the handler, and the report of its outcome.

Tracing never keeps a worker from its jobs: spans that can't be exported in time are dropped and counted.
"""

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from importlib.metadata import version
from random import getrandbits
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, set_value
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes, AttributeValue

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import StartError
from rochallor_worker.job import Job
from rochallor_worker.logger import get_logger
from rochallor_worker.traces import Active, Attempt, Tracing
from rochallor_worker.ulid import number_of

CLOSE_SECONDS = 1.0
"""How long spans may still be exported after the last outcome, in seconds."""
QUEUED_SPANS, BATCH_SPANS, DELAY_SECONDS = 2048, 512, 5.0
"""How many spans wait at most, how many are sent at once, and how long one waits for others: OpenTelemetry's defaults,
for which it has variables."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_ROOT = Context()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("rochallor_worker", version("rochallor-worker"))
_64_BITS = (1 << 64) - 1

log = get_logger(__name__)


def trace_id_of(instance_id: str) -> int:
    """Return the id of an instance's trace: the ULID's 128 bits, or a hash of an id that is none."""
    return number_of(instance_id) or int.from_bytes(
        blake2b(instance_id.encode(errors="backslashreplace"), digest_size=16).digest(), "big"
    )


def span_of(text: object) -> SpanContext | None:
    """Return the span that a `traceparent` names; None if it is not valid."""
    if not isinstance(text, str) or (found := _TRACEPARENT.fullmatch(text)) is None:
        return None
    flags = TraceFlags(int(found[3], 16) & TraceFlags.SAMPLED)
    context = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)
    return context if context.is_valid else None


class Traces(Tracing):
    """Makes spans of attempts and gives them to `exporter`, by default OTLP over HTTP as the OTEL_* variables say.

    Raises `StartError` if those can't be followed. `publish` makes handlers' own spans, of the libraries that they use,
    be exported here too, unless the program has set up OpenTelemetry itself.
    """

    def __init__(self, worker_id: str, exporter: SpanExporter | None = None) -> None:
        try:
            self._exporting = Exporting(exporter or _otlp())
            self._processor = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
            self._provider = TracerProvider(
                resource=_resource(worker_id), shutdown_on_exit=False, active_span_processor=self._processor
            )
        except ValueError as error:
            raise StartError(f"the OTEL_* variables cannot be followed: {error}") from error
        self._provider.sampler = self._sampler = Even(self._provider.sampler)
        self._provider.add_span_processor(self._exporting)
        self._worker_id = worker_id
        self.tracer = self._provider.get_tracer(_SCOPE.name, _SCOPE.version)

    @property
    def dropped(self) -> int:
        """Spans that were not exported."""
        return self._exporting.dropped

    def publish(self) -> None:
        """Be what handlers and their libraries make spans with, unless they have something of their own."""
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(self._provider)

    def attempt(self, job: ClaimedJob, queued: float) -> Attempt:
        """Return the trace of an attempt whose claim was requested `queued` seconds ago."""
        number = trace_id_of(job.instance_id)
        if not self._sampler.takes(number):  # most attempts are not sampled, and are to cost little
            return Unsampled(number)
        attempt = OwnSpan(self.record, number, f"job {job.job_type}", SpanKind.CONSUMER, began=_ago(queued))
        attempt.attributes = {
            "rochallor.job_type": job.job_type,
            "rochallor.instance_id": job.instance_id,
            "rochallor.job_id": job.id,
            "rochallor.key": job.key,
            "rochallor.worker_id": self._worker_id,
        }
        return AttemptSpans(self.tracer, attempt)

    def record(self, span: "OwnSpan") -> None:
        """Record a span of our own, which ends now."""
        self._processor.on_end(
            ReadableSpan(
                span.name,
                span.get_span_context(),
                span.parent,
                self._provider.resource,
                span.attributes,
                links=span.links,
                kind=span.kind,
                status=span.status,
                start_time=span.began,
                end_time=time.time_ns(),
                instrumentation_scope=_SCOPE,
            )
        )

    def close(self) -> None:
        """Export what is left, for at most `CLOSE_SECONDS`."""
        self._exporting.close(CLOSE_SECONDS)


class Unsampled(Attempt):
    """An attempt that is not sampled: the engine is told its trace, and so are spans of its handler."""

    __slots__ = ("_active", "_span", "_token")

    def __init__(self, number: int) -> None:
        span_id = _span_id()
        self._span = NonRecordingSpan(SpanContext(number, span_id, is_remote=False))
        self._active = Active(f"00-{number:032x}-{span_id:016x}-00")

    def __enter__(self) -> Self:
        self._active.__enter__()
        self._token = attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        detach(self._token)
        self._active.__exit__()


class OwnSpan(NonRecordingSpan):
    """A span of our own, which `record` gets when it ends.

    One of OpenTelemetry's costs four times as much, for what only spans need that others may write to meanwhile.
    """

    def __init__(
        self,
        record: Callable[["OwnSpan"], None],
        number: int,
        name: str,
        kind: SpanKind,
        *,
        began: int,
        parent: SpanContext | None = None,
    ) -> None:
        super().__init__(SpanContext(number, _span_id(), is_remote=False, trace_flags=_SAMPLED))
        self._record = record
        self.name = name
        self.kind = kind
        self.began = began
        """In nanoseconds since the epoch."""
        self.parent = parent
        self.attributes: dict[str, AttributeValue] = {}
        self.links: list[Link] = []
        self.status = Status()

    def child(self, name: str, kind: SpanKind, *, began: int) -> "OwnSpan":
        """Return a span below this one."""
        parent = self.get_span_context()
        return OwnSpan(self._record, parent.trace_id, name, kind, began=began, parent=parent)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set an attribute."""
        self.attributes[key] = value

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link to another span."""
        self.links.append(Link(context, attributes))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set how it ended."""
        self.status = status if isinstance(status, Status) else Status(status, description)

    def end(self, end_time: int | None = None) -> None:
        """End it now."""
        self._record(self)


class AttemptSpans(Attempt):
    """The spans of an attempt that is sampled. Only the handler's is OpenTelemetry's: the handler may write to it."""

    __slots__ = ("_active", "_claimed", "_header", "_last", "_phase", "_span", "_tracer")

    def __init__(self, tracer: trace.Tracer, span: OwnSpan) -> None:
        self._tracer = tracer
        self._span = span
        self._header = _header(span)
        self._active = Active(self._header)
        self._claimed = False
        self._last: dict[str, str] = {}
        self._phase: Span | None = None

    def __enter__(self) -> Self:
        self._active.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._last["outcome"] = "cut_off" if not isinstance(error, Exception) else "error"
        self._end_claim()
        _note(self._span, self._last)
        self._span.end()
        self._active.__exit__()

    def handling(self, job: Job) -> AbstractContextManager[None]:
        """Enter it while the handler runs: its span is the current one, for spans of the handler's own."""
        self._end_claim()
        self._span.set_attribute("rochallor.attempt", job.attempt)
        linked = span_of(job.variables.get("traceparent"))
        if linked is not None and linked.trace_id != self._span.get_span_context().trace_id:
            self._span.add_link(linked)
        return _Phase(self, self._tracer.start_span("handler", trace.set_span_in_context(self._span, _ROOT)))

    def reporting(self) -> AbstractContextManager[None]:
        """Enter it while the outcome is reported."""
        self._end_claim()
        return _Phase(self, self._span.child("report", SpanKind.CLIENT, began=time.time_ns()))

    def note(self, **values: str) -> None:
        """Note how something ended, in the innermost span; the last values count for the attempt."""
        self._last |= values
        if self._phase is not None:
            _note(self._phase, values)

    def _end_claim(self) -> None:
        if not self._claimed:
            self._claimed = True
            self._span.child("claim", SpanKind.INTERNAL, began=self._span.began).end()

    def begin(self, span: Span) -> None:
        """Begin a part of the attempt."""
        self._phase = span
        self._active.header = _header(span)

    def end(self, span: Span) -> None:
        """End a part."""
        self._phase = None
        span.end()
        self._active.header = self._header


class _Phase(AbstractContextManager[None]):
    """A part of an attempt; its span is OpenTelemetry's current one meanwhile."""

    __slots__ = ("_attempt", "_span", "_token")

    def __init__(self, attempt: AttemptSpans, span: Span) -> None:
        self._attempt = attempt
        self._span = span

    def __enter__(self) -> None:
        self._attempt.begin(self._span)
        self._token = attach(trace.set_span_in_context(self._span))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        detach(self._token)
        if error is not None and not isinstance(error, Exception):
            self._attempt.note(outcome="cut_off")
        self._attempt.end(self._span)


class Even(Sampler):
    """Gives a sampler ids that are spread evenly.

    Samplers by ratio compare the low bits of an id. Those of ULIDs are random, but engines count them up for ids of the
    same millisecond, which would then be sampled all or not at all. What is sampled still follows from the id alone.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        root = getattr(sampler, "_root", sampler)  # what one by parent asks for spans without
        self._bound = root.bound if isinstance(root, TraceIdRatioBased) else None

    def takes(self, trace_id: int) -> bool:
        """Return the answer for a span without a parent; a sampler by ratio compares two numbers, and is not asked."""
        if self._bound is not None:
            return _mixed(trace_id) < self._bound
        return self.should_sample(_ROOT, trace_id, "").decision is not Decision.DROP

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the sampler's answer."""
        return self._sampler.should_sample(parent_context, _mixed(trace_id), name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Return the sampler's description."""
        return self._sampler.get_description()


class Exporting(SpanProcessor):
    """Exports spans in batches, from a thread of its own, and counts those that it drops.

    OpenTelemetry's own processor doesn't say how many it drops, and its end has no time limit.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        most: int | None = None,
        batch: int | None = None,
        delay: float | None = None,
    ) -> None:
        self._exporter = exporter
        self._most = _number("OTEL_BSP_MAX_QUEUE_SIZE", QUEUED_SPANS) if most is None else most
        self._batch = _number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH_SPANS) if batch is None else batch
        self._delay = _number("OTEL_BSP_SCHEDULE_DELAY", int(DELAY_SECONDS * 1000)) / 1000 if delay is None else delay
        self.dropped = 0
        """Spans that were not exported, because too many waited or the export failed."""
        self._counting = Lock()
        self._queue: deque[ReadableSpan] = deque()
        self._sending = 0
        self._failing = False
        self._closing = False
        self._closed = False
        self._wake = Event()
        self._said = _Said()
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(self._said)
        self._thread = Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended, in any thread."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        waiting = len(self._queue)
        if self._closing or waiting >= self._most:
            self._drop(1)
            return
        self._queue.append(span)
        if waiting + 1 >= self._batch:
            self._wake.set()

    def close(self, seconds: float) -> None:
        """Export what is left, for at most so long: not at all where the last export has failed."""
        self._closing = True
        self._wake.set()
        self._thread.join(0.0 if self._failing else seconds)
        with self._counting:
            self._closed = True
            self.dropped += len(self._queue) + self._sending
        logging.getLogger(OTLPSpanExporter.__module__).removeFilter(self._said)
        if self.dropped:
            log.warning("spans were dropped", dropped=self.dropped)
        self._exporter.shutdown()  # ends an export that waits for its next try

    def _run(self) -> None:
        attach(set_value("suppress_instrumentation", True))  # the exporter's own requests are no spans
        while not self._closing or (self._queue and not self._failing):
            self._wake.wait(self._delay)
            self._wake.clear()
            while self._queue and not (self._closing and self._failing):
                self._export([self._queue.popleft() for _ in range(min(self._batch, len(self._queue)))])

    def _export(self, spans: list[ReadableSpan]) -> None:
        self._sending = len(spans)
        try:
            failed = self._exporter.export(spans) is not SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 — whatever the library or a span's value does
            self._said.reason, failed = str(error), True
        with self._counting:
            self._sending = 0
            if self._closed:
                return
            self.dropped += len(spans) if failed else 0
        if failed and not self._failing:
            log.warning("spans cannot be exported, and are dropped", error=self._said.reason)
        elif self._failing and not failed:
            log.info("spans are exported again", dropped=self.dropped)
        self._failing = failed

    def _drop(self, count: int) -> None:
        with self._counting:
            self.dropped += count


class _Said(logging.Filter):
    """Keeps what the exporter logs, several lines for each batch, as the reason for a line of our own."""

    reason = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.reason = record.getMessage()
        return False


def _otlp() -> OTLPSpanExporter:
    """Return the exporter that the OTEL_* variables ask for. Raises `StartError` for one that is not here."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := os.environ.get(name, "").strip():
            if protocol != "http/protobuf":
                raise StartError(f"{name}={protocol!r} is not supported: must be http/protobuf")
            break
    if (exporter := os.environ.get("OTEL_TRACES_EXPORTER", "").strip()) not in {"", "otlp"}:
        raise StartError(f"OTEL_TRACES_EXPORTER={exporter!r} is not supported: must be otlp or none")
    return OTLPSpanExporter()


def _resource(worker_id: str) -> Resource:
    """Return what the spans are of: as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, the rest from here."""
    given = Resource.create({})
    ours = {"service.version": version("rochallor-worker"), "service.instance.id": worker_id}
    if str(given.attributes.get("service.name", "")).startswith("unknown_service"):
        given = given.merge(Resource({"service.name": "rochallor-worker"}))
    asked = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    whole = given.merge(Resource({name: value for name, value in ours.items() if f"{name}=" not in asked}))
    return _Hashed(whole.attributes, whole.schema_url)


class _Hashed(Resource):
    """A resource that is hashed once, not as JSON for each span that is exported."""

    def __init__(self, attributes: Attributes, schema_url: str) -> None:
        super().__init__(dict(attributes or {}), schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def _number(name: str, default: int) -> int:
    """Return a positive whole number of the environment, or the default."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not (number := int(text)):
        raise ValueError(f"{name}={text!r} is not a positive whole number")
    return number


def _mixed(number: int) -> int:
    """Return 64 bits, each of which depends on each bit of the number (the last step of SplitMix64)."""
    mixed = (number ^ number >> 64) & _64_BITS
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _64_BITS
    return mixed ^ mixed >> 31


def _span_id() -> int:
    return getrandbits(64) or 1


def _ago(seconds: float) -> int:
    """Return the time so long ago, in nanoseconds since the epoch."""
    return time.time_ns() - int(seconds * 1e9)


def _header(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"


def _note(span: Span, values: dict[str, str]) -> None:
    """Write how something ended; an error is one without its message, which may quote variables."""
    for name, value in values.items():
        span.set_attribute(f"rochallor.{name}", value)
    outcome = values.get("outcome", "")
    if outcome.startswith("failed") or outcome == "error" or values.get("verdict", "accepted") != "accepted":
        span.set_status(Status(StatusCode.ERROR))
