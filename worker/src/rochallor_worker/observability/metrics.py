"""Prometheus metrics of a worker: base units, and no label whose number of values users of the engine control."""

from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from typing import TypeVar, assert_never, get_args

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    REGISTRY,
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
    Leased,
    OutcomeKind,
    OutcomeRetried,
    Overran,
    Parked,
    Polled,
    Recalled,
    Renewed,
    RenewResult,
    Reported,
    Skipped,
    Started,
    TimedOut,
)
from rochallor_worker.execution.runner import Runner
from rochallor_worker.handlers.failure import describe
from rochallor_worker.logger import get_logger
from rochallor_worker.observability.sampler import Sampler

_HANDLER_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 300)
_ANSWER_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10, 30)
_WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)

M = TypeVar("M", Counter, Histogram)

log = get_logger(__name__)


class Metrics:
    """Counts events (`observe` is an `Observer`) and reads the runner's state at each scrape."""

    def __init__(self, runner: Runner, sampler: Sampler, *, transport: str, worker_id: str) -> None:
        self._last_error = ""
        self._child = cache(_child)
        self.registry = registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, _State(runner, sampler)):
            registry.register(collector)
        self._info = Gauge(
            "rochallor_worker_info",
            "The worker's version, transport and id; always 1.",
            ["version", "transport", "worker_id"],
            registry=registry,
        )
        self._info.labels(version("rochallor-worker"), transport, worker_id).set(1)
        self._jobs = Counter(
            "rochallor_worker_jobs",
            "Jobs by how they ended here: completed, failed_retryable (will be retried), failed_final (will not), "
            "refused (the engine did not accept the outcome), abandoned (the engine was not reached in time, or the "
            "run began late in its lease), late (the answer came after the lease's end and proves nothing), lost (the "
            "lease was lost).",
            ["job_type", "outcome"],
            registry=registry,
        )
        for job_type in runner.job_types:  # from the start, so that a rate sees the first one
            for outcome in (*get_args(OutcomeKind), "refused", "abandoned", "late", "lost"):
                self._jobs.labels(job_type, outcome)
        self._handler_seconds = Histogram(
            "rochallor_worker_handler_seconds",
            "How long handlers ran.",
            ["job_type"],
            registry=registry,
            buckets=_HANDLER_BUCKETS,
        )
        self._wait_seconds = Histogram(
            "rochallor_worker_wait_seconds",
            "Time from a job's creation to the start of its handler, unless the job was postponed here before. Over "
            "REST the clocks of the engine and its database measure it; over gRPC and Kafka the engine's and the "
            "worker's, which may differ: it is never below 0. A retry is a new job, except on generation A.",
            ["job_type"],
            registry=registry,
            buckets=_WAIT_BUCKETS,
        )
        self._queue_seconds = Histogram(
            "rochallor_worker_queue_seconds",
            "Time from the request for a job to the start of its handler.",
            registry=registry,
            buckets=_ANSWER_BUCKETS,
        )
        self._outcome_seconds = Histogram(
            "rochallor_worker_outcome_seconds",
            "Time from the end of a handler to the engine's answer to its outcome.",
            registry=registry,
            buckets=_ANSWER_BUCKETS,
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
        self._renewals = Counter(
            "rochallor_worker_lease_renewals",
            "Lease renewals by result: renewed, lost, unsupported (by this engine), failed.",
            ["result"],
            registry=registry,
        )
        for result in get_args(RenewResult):
            self._renewals.labels(result)
        self._overruns = Counter(
            "rochallor_worker_lease_overruns",
            "Handlers that were still running at the end of their lease.",
            ["job_type"],
            registry=registry,
        )
        self._lease_seconds = Gauge(
            "rochallor_worker_lease_seconds",
            "Length of the leases that the engine grants, whatever was requested; 0 before the first one.",
            registry=registry,
        )
        self._clock_skew = Gauge(
            "rochallor_worker_clock_skew_seconds",
            "How far the engine's clock is ahead of its database's, as seen in claims over REST.",
            registry=registry,
        )
        self._outcome_retries = Counter(
            "rochallor_worker_outcome_retries", "Times that an outcome was sent again.", registry=registry
        )
        self._duplicates = Counter(
            "rochallor_worker_duplicates",
            "Jobs redelivered while still running here, and Kafka events published twice.",
            registry=registry,
        )
        self._skipped = Counter(
            "rochallor_worker_kafka_skipped",
            "Kafka records that were skipped: not a valid job of their type.",
            ["job_type"],
            registry=registry,
        )
        self._recalled = Counter(
            "rochallor_worker_journal_recalled",
            "Claimed jobs that were not run again because the journal had their outcome.",
            registry=registry,
        )

        self._postponed = Counter(
            "rochallor_worker_postponed",
            "Times that a job was postponed, by its handler or by the breaker of its type; no retry is spent.",
            ["job_type"],
            registry=registry,
        )
        for job_type in runner.job_types:
            self._postponed.labels(job_type)
        self._counted_by_type = {
            TimedOut: self._handler_timeouts,
            Skipped: self._skipped,
            Overran: self._overruns,
            Parked: self._postponed,
        }
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
            case Started(job_type, queued, waited):
                self._queue_seconds.observe(queued)
                if waited is not None:
                    self._child(self._wait_seconds, job_type).observe(waited)
            case Executed(job_type, _, seconds, _):
                self._child(self._handler_seconds, job_type).observe(seconds)
            case Reported(job_type, outcome, verdict, seconds):
                self._child(self._jobs, job_type, outcome if verdict == "accepted" else verdict).inc()
                self._outcome_seconds.observe(seconds)
            case Renewed(_, result):
                self._renewals.labels(result).inc()
            case Leased(length, clock_skew):
                self._lease_seconds.set(length)
                self._clock_skew.set(clock_skew)
            case TimedOut(job_type) | Skipped(job_type) | Overran(job_type) | Parked(job_type):
                self._counted_by_type[type(event)].labels(job_type).inc()
            case OutcomeRetried() | Recalled() | ClaimExpired() | Duplicate():
                self._counted[type(event)].inc()
            case _:
                assert_never(event)

    def count_dropped_spans(self, dropped: Callable[[], int]) -> None:
        """Have a metric of the spans that were dropped: only a worker that traces has any."""
        self.registry.register(_DroppedSpans(dropped))

    def exposition(self) -> bytes:
        """Return the text that Prometheus scrapes: these metrics, and those of prometheus_client's default registry."""
        families = list(self.registry.collect())
        names = {name for family in families for name in _names(family)}
        return generate_latest(_Collected(families)) + self._metrics_of_handlers(names)

    def _metrics_of_handlers(self, ours: set[str]) -> bytes:
        """Return the text of the default registry, where handlers and their libraries put theirs, without our names."""
        try:
            families = [family for family in REGISTRY.collect() if ours.isdisjoint(_names(family))]
            return generate_latest(_Collected(families))
        except Exception as error:  # noqa: BLE001 — a collector of a handler's library; these metrics are still served
            if (text := describe(error)) != self._last_error:
                log.warning("the default registry of prometheus_client cannot be read", error=text)
                self._last_error = text
            return b""


def _child(metric: M, *labels: str) -> M:
    """Return a metric's child; cached, since to look one up costs more than to count with it."""
    return metric.labels(*labels)


def _names(family: Metric) -> set[str]:
    return {family.name, *(sample.name for sample in family.samples)}


class _Collected(Collector):
    """What was collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class _DroppedSpans(Collector):
    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "rochallor_worker_spans_dropped",
            "Spans that were not exported: the export failed, or too many waited for it. Only with tracing.",
            value=self._dropped(),
        )


class _State(Collector):
    """The runner's state at the time of the scrape."""

    def __init__(self, runner: Runner, sampler: Sampler) -> None:
        self._runner = runner
        self._sampler = sampler

    def collect(self) -> Iterable[Metric]:
        slots, problem = self._runner.slots, self._runner.problem
        yield GaugeMetricFamily("rochallor_worker_slots", "How many jobs can run at the same time.", value=slots.total)
        yield GaugeMetricFamily("rochallor_worker_slots_busy", "Slots that are running a job now.", value=slots.busy)
        yield CounterMetricFamily(
            "rochallor_worker_slot_busy_seconds",
            "Busy time summed over all slots; its rate divided by the slots is the exact mean utilization.",
            value=slots.busy_seconds,
        )
        yield GaugeMetricFamily(
            "rochallor_worker_utilization_ratio",
            "Mean share of busy slots over the last 15 s.",
            value=self._sampler.utilization,
        )
        yield GaugeMetricFamily(
            "rochallor_worker_recent_wait_seconds",
            "Mean time that jobs had waited which started in the last 15 s; 0 if none did. While a type's breaker is "
            "open, or its rate for all pods used up, waiting doesn't count: more pods can't shorten it.",
            value=self._sampler.recent_wait,
        )
        yield GaugeMetricFamily(
            "rochallor_worker_engine_up",
            "1 while the engine answers.",
            value=float(problem is None or problem.reason not in {"Starting", "EngineUnreachable", "EngineRefuses"}),
        )
        opened = GaugeMetricFamily(
            "rochallor_worker_breaker_open", "1 while the breaker of the job type is open.", labels=["job_type"]
        )
        parked = GaugeMetricFamily(
            "rochallor_worker_parked", "Postponed jobs that wait here, without a slot.", labels=["job_type"]
        )
        for job_type, gate in self._runner.gates.items():
            opened.add_metric([job_type], float(gate.circuit.open))
            parked.add_metric([job_type], gate.parked)
        yield opened
        yield parked
        lag = GaugeMetricFamily(
            "rochallor_worker_kafka_lag",
            "Records not yet processed, for each partition assigned to this worker.",
            labels=["topic", "partition"],
        )
        paused = 0
        for (topic, partition), state in self._runner.partitions.items():
            lag.add_metric([topic, str(partition)], state.lag)
            paused += state.paused
        yield lag
        yield GaugeMetricFamily(
            "rochallor_worker_kafka_paused",
            "Partitions that are paused: all slots are busy, or one job is far behind.",
            value=paused,
        )
        yield GaugeMetricFamily(
            "rochallor_worker_journal_entries",
            "Jobs in the journal: running ones and, for a day, those whose outcome may not have reached the engine.",
            value=len(self._runner.journal),
        )
        yield CounterMetricFamily(
            "rochallor_worker_journal_errors",
            "Lines that could not be written to the journal.",
            value=self._runner.journal.errors,
        )
        yield GaugeMetricFamily(
            "rochallor_worker_loop_lag_seconds",
            "Longest delay of the event loop in the last 15 s; a handler that blocks the loop shows here.",
            value=self._sampler.loop_lag,
        )
