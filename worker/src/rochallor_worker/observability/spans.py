"""The spans of attempts: they cost little, and are OpenTelemetry's own only where somebody else writes to them."""

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from random import getrandbits
from threading import Lock

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status()

_next_span: ContextVar[int] = ContextVar("rochallor_worker.next_span", default=0)


def new_id() -> int:
    """Return a span's id."""
    return getrandbits(64) or 1


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
        super().__init__(SpanContext(number, new_id(), is_remote=False, trace_flags=_SAMPLED))
        self._record = record
        self.name = name
        self.kind = kind
        self.began = began
        """In nanoseconds since the epoch."""
        self.parent = parent
        self.attributes: dict[str, AttributeValue] = {}
        self.links: list[Link] = []
        self.status = _UNSET

    def note(self, values: Mapping[str, str]) -> None:
        """Note how it ended; an error is one without its message, which may quote variables."""
        for name, value in values.items():
            self.attributes[f"rochallor.{name}"] = value
        outcome = values.get("outcome", "")
        if outcome.startswith("failed") or outcome == "error" or values.get("verdict", "accepted") != "accepted":
            self.status = Status(StatusCode.ERROR)

    def child(self, name: str, kind: SpanKind, *, began: int) -> "OwnSpan":
        """Return a span below this one."""
        parent = self.get_span_context()
        return OwnSpan(self._record, parent.trace_id, name, kind, began=began, parent=parent)

    def end(self, end_time: int | None = None) -> None:
        """End it now."""
        self._record(self)


class HandlerSpan(OwnSpan):
    """A handler's span. If the handler writes to it, which few do, it becomes one of OpenTelemetry's own."""

    def __init__(self, tracer: trace.Tracer, record: Callable[[OwnSpan], None], parent: SpanContext) -> None:
        super().__init__(record, parent.trace_id, "handler", SpanKind.INTERNAL, began=time.time_ns(), parent=parent)
        self._tracer = tracer
        self._above = trace.set_span_in_context(NonRecordingSpan(parent), Context())
        self._lock = Lock()
        self._span: Span | None = None

    def is_recording(self) -> bool:
        """Whether it takes what is written to it."""
        return True

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self._written.set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self._written.set_attributes(attributes)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._written.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._written.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self._written.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._written.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self._written.record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """End it now."""
        if self._span is None:
            super().end()
            return
        self._span.set_attributes(self.attributes)
        if self.status is not _UNSET:
            self._span.set_status(self.status)
        self._span.end()

    @property
    def _written(self) -> Span:
        with self._lock:
            if self._span is None:
                following = _next_span.set(self.get_span_context().span_id)
                self._span = self._tracer.start_span(self.name, self._above, self.kind, start_time=self.began)
                _next_span.reset(following)
            return self._span


class Ids(RandomIdGenerator):
    """Gives a handler's span the id that it had before; all others are random."""

    def generate_span_id(self) -> int:
        return _next_span.get() or super().generate_span_id()
