"""The metric names of the engine's own worker SDKs, for existing dashboards (METRICS_COMPAT=1).

Includes those of SDK 1.1.0 that have a counterpart here; docs/migrating.md lists what is left out, and why.
"""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

from rochallor_worker.events import (
    ClaimExpired,
    Duplicate,
    Event,
    Executed,
    OutcomeRetried,
    Polled,
    Renewed,
    RenewResult,
    Reported,
    Skipped,
)

Dispatch = Literal["polling", "kafka"]

_HEARTBEATS: dict[RenewResult, str] = {
    "renewed": "accepted",
    "failed": "retry",
    "lost": "lease_lost",
    "unsupported": "rejected",
}


class SdkMetrics:
    """Metrics as those SDKs name them; `observe` is an `Observer`. `dispatch` says how the worker receives jobs."""

    def __init__(self, registry: CollectorRegistry, dispatch: Dispatch = "polling") -> None:
        self._dispatch = dispatch
        self._poll_latency = Histogram(
            "workflow_sdk_poll_latency_seconds", "Time until a poll is answered.", registry=registry
        )
        self._lock_conflicts = Counter(
            "workflow_sdk_lock_conflicts", "Jobs delivered twice, or too late to start.", registry=registry
        )
        self._handler_latency = Histogram(
            "workflow_sdk_handler_latency_seconds", "How long handlers ran.", ["job_type"], registry=registry
        )
        self._retries = Counter(
            "workflow_sdk_retries", "Runs that failed and will be retried.", ["job_type"], registry=registry
        )
        self._jobs_completed = Counter(
            "workflow_sdk_jobs_completed", "Jobs that ended, by outcome.", ["job_type", "outcome"], registry=registry
        )
        self._heartbeats = Counter(
            "workflow_sdk_heartbeat", "Lease renewals, by result.", ["result"], registry=registry
        )
        self._callback_retries = Counter(
            "workflow_sdk_callback_retries", "Times that an outcome was sent again.", ["dispatch"], registry=registry
        )
        self._callback_rejected = Counter(
            "workflow_sdk_callback_rejected",
            "Outcomes that the engine refused.",
            ["dispatch", "callback"],
            registry=registry,
        )
        self._record_errors = Counter(
            "workflow_sdk_kafka_record_errors", "Kafka records that aren't a valid job.", registry=registry
        )
        # from the start, so that a rate sees the first one
        for result in _HEARTBEATS.values():
            self._heartbeats.labels(result)
        self._callback_retries.labels(dispatch)
        for callback in ("complete", "fail"):
            self._callback_rejected.labels(dispatch, callback)

    def observe(self, event: Event) -> None:
        """Count one event."""
        match event:
            case Polled(_, seconds):
                self._poll_latency.observe(seconds)
            case ClaimExpired() | Duplicate():
                self._lock_conflicts.inc()
            case Executed(job_type, outcome, seconds, _):
                self._handler_latency.labels(job_type).observe(seconds)
                if outcome == "failed_retryable":
                    self._retries.labels(job_type).inc()
            case Renewed(_, result):
                self._heartbeats.labels(_HEARTBEATS[result]).inc()
            case OutcomeRetried():
                self._callback_retries.labels(self._dispatch).inc()
            case Reported(job_type, outcome, "accepted", _):
                self._jobs_completed.labels(job_type, "success" if outcome == "completed" else "failure").inc()
            case Reported(_, outcome, "refused", _):
                callback = "complete" if outcome == "completed" else "fail"
                self._callback_rejected.labels(self._dispatch, callback).inc()
            case Skipped():
                self._record_errors.inc()
            case _:
                pass
