"""The metric names of the engine's own worker SDKs, for dashboards that people bring along (METRICS_COMPAT=1)."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from rochallor_worker.events import ClaimExpired, Duplicate, Event, Executed, Polled, Reported


class SdkMetrics:
    """Five metrics as those SDKs name them; `observe` is an `Observer`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._poll_latency = Histogram(
            "workflow_sdk_poll_latency_seconds", "Time until a poll is answered.", registry=registry
        )
        self._lock_conflicts = Counter(
            "workflow_sdk_lock_conflicts", "Jobs that came twice or too late to be started.", registry=registry
        )
        self._handler_latency = Histogram(
            "workflow_sdk_handler_latency_seconds", "Time a handler ran.", ["job_type"], registry=registry
        )
        self._retries = Counter(
            "workflow_sdk_retries", "Runs that failed and are to be tried again.", ["job_type"], registry=registry
        )
        self._jobs_completed = Counter(
            "workflow_sdk_jobs_completed", "Jobs that ended, by outcome.", ["job_type", "outcome"], registry=registry
        )

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
            case Reported(job_type, outcome, "accepted", _):
                self._jobs_completed.labels(job_type, "success" if outcome == "completed" else "failure").inc()
            case _:
                pass
