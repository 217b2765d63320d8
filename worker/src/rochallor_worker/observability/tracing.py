"""Traces for OpenTelemetry: one for each instance, whichever workers, transports and restarts its jobs see.

A trace's id is made of the instance's id, so that nothing has to pass it on. Each attempt is a span without a parent:
nobody exports a span of the instance itself, and a view would call all spans below it orphans. Below an attempt's span
are the claim (until its handler starts), the handler, and the report of its outcome.

Tracing never keeps a worker from its jobs: spans that can't be exported in time are dropped and counted.
"""

import os
import re
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from importlib.metadata import version
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.errors import StartError
from rochallor_worker.job import Job
from rochallor_worker.observability.exporting import CLOSE_SECONDS, Exporting, otlp
from rochallor_worker.observability.spans import HandlerSpan, Ids, OwnSpan, new_id
from rochallor_worker.traces import Active, Attempt, Tracing
from rochallor_worker.ulid import number_of

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_ROOT = Context()
_SCOPE = InstrumentationScope("rochallor_worker", version("rochallor-worker"))
_64_BITS = (1 << 64) - 1


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
            self._exporting = Exporting(exporter or otlp())
            self._processor = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
            self._provider = TracerProvider(
                resource=_resource(worker_id),
                id_generator=Ids(),
                shutdown_on_exit=False,
                active_span_processor=self._processor,
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
        return AttemptSpans(self, attempt)

    def record(self, span: OwnSpan) -> None:
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
        span_id = new_id()
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


class AttemptSpans(Attempt):
    """The spans of an attempt that is sampled."""

    __slots__ = ("_active", "_claimed", "_header", "_last", "_phase", "_span", "_traces")

    def __init__(self, traces: Traces, span: OwnSpan) -> None:
        self._traces = traces
        self._span = span
        self._header = _header(span)
        self._active = Active(self._header)
        self._claimed = False
        self._last: dict[str, str] = {}
        self._phase: OwnSpan | None = None

    def __enter__(self) -> Self:
        self._active.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._last["outcome"] = "cut_off" if not isinstance(error, Exception) else "error"
        self._end_claim()
        self._span.note(self._last)
        self._span.end()
        self._active.__exit__()

    def handling(self, job: Job) -> AbstractContextManager[None]:
        """Enter it while the handler runs: its span is the current one, for spans of the handler's own."""
        self._end_claim()
        self._span.attributes["rochallor.attempt"] = job.attempt
        linked = span_of(job.variables.get("traceparent"))
        if linked is not None and linked.trace_id != self._span.get_span_context().trace_id:
            self._span.links.append(Link(linked))
        return _Phase(self, HandlerSpan(self._traces.tracer, self._traces.record, self._span.get_span_context()))

    def reporting(self) -> AbstractContextManager[None]:
        """Enter it while the outcome is reported."""
        self._end_claim()
        return _Phase(self, self._span.child("report", SpanKind.CLIENT, began=time.time_ns()))

    def note(self, **values: str) -> None:
        """Note how something ended, in the innermost span; the last values count for the attempt."""
        self._last |= values
        if self._phase is not None:
            self._phase.note(values)

    def _end_claim(self) -> None:
        if not self._claimed:
            self._claimed = True
            self._span.child("claim", SpanKind.INTERNAL, began=self._span.began).end()

    def begin(self, span: OwnSpan) -> None:
        """Begin a part of the attempt."""
        self._phase = span
        self._active.header = _header(span)

    def end(self, span: OwnSpan) -> None:
        """End a part."""
        self._phase = None
        span.end()
        self._active.header = self._header


class _Phase(AbstractContextManager[None]):
    """A part of an attempt; its span is OpenTelemetry's current one meanwhile."""

    __slots__ = ("_attempt", "_span", "_token")

    def __init__(self, attempt: AttemptSpans, span: OwnSpan) -> None:
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


def _resource(worker_id: str) -> Resource:
    """Return what the spans are of: as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, the rest from here."""
    given = Resource.create({})
    ours = {"service.version": version("rochallor-worker"), "service.instance.id": worker_id}
    if str(given.attributes.get("service.name", "")).startswith("unknown_service"):
        given = given.merge(Resource({"service.name": "rochallor-worker"}))
    asked = {pair.partition("=")[0].strip() for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")}
    whole = given.merge(Resource({name: value for name, value in ours.items() if name not in asked}))
    return _Hashed(whole.attributes, whole.schema_url)


class _Hashed(Resource):
    """A resource that is hashed once, not as JSON for each span that is exported."""

    def __init__(self, attributes: Attributes, schema_url: str) -> None:
        super().__init__(dict(attributes or {}), schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def _mixed(number: int) -> int:
    """Return 64 bits, each of which depends on each bit of the number (the last step of SplitMix64)."""
    mixed = (number ^ number >> 64) & _64_BITS
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _64_BITS
    return mixed ^ mixed >> 31


def _ago(seconds: float) -> int:
    """Return the time so long ago, in nanoseconds since the epoch."""
    return time.time_ns() - int(seconds * 1e9)


def _header(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"
