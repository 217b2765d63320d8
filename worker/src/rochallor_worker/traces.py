"""The seam between a job's path and tracing (observability/tracing.py). Without tracing nothing of it does anything.

Nothing here needs OpenTelemetry: it is imported only where `wanted` says that a worker is to export spans.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rochallor_worker.engine.client import ClaimedJob
    from rochallor_worker.job import Job

_NOTHING = nullcontext()


class Active:
    """Inside, and in the tasks and threads that copy the context meanwhile, `header` is the active span.

    Not afterwards: a task that a handler starts may outlive its job.
    """

    __slots__ = ("_token", "header")

    def __init__(self, header: str) -> None:
        self.header = header

    def __enter__(self) -> Self:
        self._token = _active.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.header = ""
        _active.reset(self._token)


_active: ContextVar[Active | None] = ContextVar("rochallor_worker.span", default=None)


def traceparent() -> str:
    """Return the span that is active here, as W3C's header of that name; clients send it with each call to the engine.

    It is empty outside of attempts, and without tracing.
    """
    active = _active.get()
    return "" if active is None else active.header


def trace_id() -> str:
    """Return the id of the trace that is active here, in hexadecimal, or nothing."""
    return traceparent()[3:35]


class Attempt:
    """The trace of one attempt, entered from its claim until it is settled. This one records nothing."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def handling(self, job: "Job") -> AbstractContextManager[None]:
        """Enter it while the handler runs; once more if the job was postponed meanwhile."""
        return _NOTHING

    def reporting(self) -> AbstractContextManager[None]:
        """Enter it while the outcome is reported."""
        return _NOTHING

    def note(self, **values: str) -> None:
        """Note how something ended (`outcome`, `verdict`), in the innermost span; the last ones count for all."""


class Tracing:
    """Makes the traces of attempts. This one makes none."""

    def attempt(self, job: "ClaimedJob", queued: float) -> Attempt:
        """Return the trace of an attempt whose claim was requested `queued` seconds ago."""
        return _UNTRACED


_UNTRACED = Attempt()
UNTRACED = Tracing()


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the standard OTEL_* variables ask for traces: an endpoint is set, and nothing switches them off."""

    def value(name: str) -> str:
        return environment.get(name, "").strip()

    return (
        bool(value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or value("OTEL_EXPORTER_OTLP_ENDPOINT"))
        and value("OTEL_SDK_DISABLED").lower() != "true"
        and value("OTEL_TRACES_EXPORTER").lower() != "none"
    )
