"""Prometheus metrics of a worker: base units, and no label whose values a user of the engine can multiply."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import assert_never, get_args

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rochallor_worker.events import (
    ClaimExpired,
    Duplicate,
    Event,
    Executed,
    OutcomeRetried,
    Polled,
    Recalled,
    Reported,
    RunOutcome,
    Skipped,
    Started,
    TimedOut,
)
from rochallor_worker.pulse import Pulse
from rochallor_worker.runner import Runner

_HANDLER_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 300)
_WAIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10, 30)


class Metrics:
    """Counts events (`observe` is an `Observer`) and reads the runner's state at each scrape."""

    def __init__(self, runner: Runner, pulse: Pulse, *, transport: str, worker_id: str) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, _State(runner, pulse)):
            registry.register(collector)
        self._info = Gauge(
            "rochallor_worker_info",
            "What this worker is; always 1.",
            ["version", "transport", "worker_id"],
            registry=registry,
        )
        self._info.labels(version("rochallor-worker"), transport, worker_id).set(1)
        self._jobs = Counter(
            "rochallor_worker_jobs",
            "Jobs by how they ended here: completed, failed_retryable (it comes again), failed_final (it does not), "
            "refused (the engine did not accept the outcome), abandoned (the engine was not reached in time).",
            ["job_type", "outcome"],
            registry=registry,
        )
        for job_type in runner.job_types:  # from the start, else a rate would not see the first one
            for outcome in (*get_args(RunOutcome), "refused", "abandoned"):
                self._jobs.labels(job_type, outcome)
        self._handler_seconds = Histogram(
            "rochallor_worker_handler_seconds",
            "How long handlers ran.",
            ["job_type"],
            registry=registry,
            buckets=_HANDLER_BUCKETS,
        )
        self._queue_seconds = Histogram(
            "rochallor_worker_queue_seconds",
            "Time from asking for a job to the start of its handler.",
            registry=registry,
            buckets=_WAIT_BUCKETS,
        )
        self._outcome_seconds = Histogram(
            "rochallor_worker_outcome_seconds",
            "Time from the end of a handler until the engine has answered its outcome.",
            registry=registry,
            buckets=_WAIT_BUCKETS,
        )
        self._polls = Counter(
            "rochallor_worker_polls",
            "Polls by result: full, partial, empty, error, mismatch.",
            ["result"],
            registry=registry,
        )
        self._claims_expired = Counter(
            "rochallor_worker_claims_expired",
            "Claimed jobs that could not be started within their lease.",
            registry=registry,
        )
        self._handler_timeouts = Counter(
            "rochallor_worker_handler_timeouts", "Handlers that reached their timeout.", ["job_type"], registry=registry
        )
        self._outcome_retries = Counter(
            "rochallor_worker_outcome_retries", "Outcomes that had to be sent again.", registry=registry
        )
        self._duplicates = Counter(
            "rochallor_worker_duplicates",
            "Jobs that came again while they still ran here, and Kafka events that were published twice.",
            registry=registry,
        )
        self._skipped = Counter(
            "rochallor_worker_kafka_skipped",
            "Kafka records that aren't a valid job of their type and were skipped.",
            ["job_type"],
            registry=registry,
        )
        self._recalled = Counter(
            "rochallor_worker_journal_recalled",
            "Claimed jobs that were not run again because the journal has their outcome.",
            registry=registry,
        )

        self._counted_by_type = {TimedOut: self._handler_timeouts, Skipped: self._skipped}
        self._counted = {
            OutcomeRetried: self._outcome_retries,
            Recalled: self._recalled,
            ClaimExpired: self._claims_expired,
            Duplicate: self._duplicates,
        }

    def observe(self, event: Event) -> None:
        """Count one event."""
        match event:
            case Polled(result, _):
                self._polls.labels(result).inc()
            case Started(_, queued):
                self._queue_seconds.observe(queued)
            case Executed(job_type, _, seconds, _):
                self._handler_seconds.labels(job_type).observe(seconds)
            case Reported(job_type, outcome, verdict, seconds):
                self._jobs.labels(job_type, outcome if verdict == "accepted" else verdict).inc()
                self._outcome_seconds.observe(seconds)
            case TimedOut(job_type) | Skipped(job_type):
                self._counted_by_type[type(event)].labels(job_type).inc()
            case OutcomeRetried() | Recalled() | ClaimExpired() | Duplicate():
                self._counted[type(event)].inc()
            case _:
                assert_never(event)

    def exposition(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self.registry)


class _State(Collector):
    """What the runner knows at the moment of the scrape."""

    def __init__(self, runner: Runner, pulse: Pulse) -> None:
        self._runner = runner
        self._pulse = pulse

    def collect(self) -> Iterable[Metric]:
        slots, trouble = self._runner.slots, self._runner.trouble
        yield GaugeMetricFamily("rochallor_worker_slots", "Slots: how many jobs can run at once.", value=slots.total)
        yield GaugeMetricFamily("rochallor_worker_slots_busy", "Slots that are running a job now.", value=slots.busy)
        yield CounterMetricFamily(
            "rochallor_worker_slot_busy_seconds",
            "Busy time summed over slots; its rate divided by the slots is the exact mean utilization.",
            value=slots.busy_seconds,
        )
        yield GaugeMetricFamily(
            "rochallor_worker_utilization_ratio",
            "Mean share of busy slots over the last 15 s.",
            value=self._pulse.utilization,
        )
        yield GaugeMetricFamily(
            "rochallor_worker_engine_up",
            "1 while the engine answers.",
            value=float(trouble is None or trouble.reason != "EngineUnreachable"),
        )
        lag = GaugeMetricFamily(
            "rochallor_worker_kafka_lag",
            "Records not yet processed, for each partition of this worker.",
            labels=["topic", "partition"],
        )
        paused = 0
        for (topic, partition), state in self._runner.source.partitions.items():
            lag.add_metric([topic, str(partition)], state.lag)
            paused += state.paused
        yield lag
        yield GaugeMetricFamily(
            "rochallor_worker_kafka_paused",
            "Partitions from which nothing is fetched for now: all slots are busy, or one job is far behind.",
            value=paused,
        )
        yield GaugeMetricFamily(
            "rochallor_worker_journal_entries",
            "Jobs in the journal: running ones and, for a day, those whose outcome may not have arrived.",
            value=len(self._runner.journal),
        )
        yield CounterMetricFamily(
            "rochallor_worker_journal_errors",
            "Lines that could not be written to the journal.",
            value=self._runner.journal.errors,
        )
        yield GaugeMetricFamily(
            "rochallor_worker_loop_lag_seconds",
            "The latest the event loop was in the last 15 s; a handler that blocks it shows here.",
            value=self._pulse.loop_lag,
        )
