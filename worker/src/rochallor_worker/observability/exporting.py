"""The export of spans, over OTLP: those that can't be exported in time are dropped and counted."""

import logging
import os
from collections import deque
from threading import Event, Lock, Thread

from opentelemetry.context import attach, set_value
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from rochallor_worker.engine.client import one_line
from rochallor_worker.errors import StartError
from rochallor_worker.logger import get_logger

CLOSE_SECONDS = 1.0
"""How long spans may still be exported after the last outcome, in seconds."""
QUEUED_SPANS, BATCH_SPANS, DELAY_SECONDS = 2048, 512, 5.0
"""How many spans wait at most, how many are sent at once, and how long one waits for others: OpenTelemetry's defaults,
for which it has variables."""
MOST_DIGITS = 9
_EXPORTER = logging.getLogger(OTLPSpanExporter.__module__)
_ENCODER = logging.getLogger("opentelemetry.exporter.otlp.proto.common._internal")

log = get_logger(__name__)


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
        _EXPORTER.addFilter(self._said)
        _ENCODER.addFilter(_without_traceback)
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
        _EXPORTER.removeFilter(self._said)
        _ENCODER.removeFilter(_without_traceback)
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
        self._sending = dropped = len(spans)
        if self._sent(spans):
            dropped = 0
        elif 0 < len(rest := [*filter(_can_be_encoded, spans)]) < len(spans):
            log.warning(
                "spans cannot be encoded, and are dropped", dropped=len(spans) - len(rest), error=self._said.reason
            )
            dropped -= len(rest) if self._sent(rest) else 0
        failed = dropped == len(spans)
        with self._counting:
            self._sending = 0
            if self._closed:
                return
            self.dropped += dropped
        if failed and not self._failing:
            log.warning("spans cannot be exported, and are dropped", error=self._said.reason)
        elif self._failing and not failed:
            log.info("spans are exported again", dropped=self.dropped)
        self._failing = failed

    def _sent(self, spans: list[ReadableSpan]) -> bool:
        """Send spans; return whether the collector has them."""
        try:
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # noqa: BLE001 — whatever the library or a span's value does
            self._said.reason = one_line(str(error))
            return False

    def _drop(self, count: int) -> None:
        with self._counting:
            self.dropped += count


class _Said(logging.Filter):
    """Keeps what the exporter logs, several lines for each batch, as the reason for a line of our own."""

    reason = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.reason = one_line(record.getMessage())  # it has the collector's answer in it, whatever that is
        return False


def _without_traceback(record: logging.LogRecord) -> bool:
    """Leave one line of what the encoder logs about an attribute that it leaves out."""
    record.exc_info = None
    return True


def _can_be_encoded(span: ReadableSpan) -> bool:
    try:
        encode_spans([span]).SerializePartialToString()
    except Exception:  # noqa: BLE001 — likewise
        return False
    return True


def otlp() -> OTLPSpanExporter:
    """Return the exporter that the OTEL_* variables ask for. Raises `StartError` for one that is not here."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := os.environ.get(name, "").strip():
            if protocol != "http/protobuf":
                raise StartError(f"{name}={protocol!r} is not supported: must be http/protobuf")
            break
    if (exporter := os.environ.get("OTEL_TRACES_EXPORTER", "").strip()) not in {"", "otlp"}:
        raise StartError(f"OTEL_TRACES_EXPORTER={exporter!r} is not supported: must be otlp or none")
    return OTLPSpanExporter()


def _number(name: str, default: int) -> int:
    """Return a positive whole number of the environment, or the default; not more than threads can wait for."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or len(text) > MOST_DIGITS or not (number := int(text)):
        raise ValueError(f"{name}={text[:100]!r} is not a whole number above 0 of at most {MOST_DIGITS} digits")
    return number
