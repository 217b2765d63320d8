"""The metrics are API: their names, types and labels."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from rochallor_worker import Registry, Runner
from rochallor_worker.events import (
    ClaimExpired,
    Duplicate,
    Event,
    Executed,
    Leased,
    OutcomeRetried,
    Overran,
    Polled,
    Renewed,
    Reported,
    Skipped,
    Started,
    TimedOut,
    Verdict,
)
from rochallor_worker.execution.gates import Gate, one_pod
from rochallor_worker.handlers.breaker import Breaker
from rochallor_worker.handlers.limits import Limits
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.observability.sdk_metrics import SdkMetrics
from rochallor_worker.source.base import PartitionState, Problem
from rochallor_worker.source.polling import PollingSource
from unit.worker.engines import FaultyEngine, loop_time

DOCUMENTED = {
    "rochallor_worker_info": ("gauge", {"version", "transport", "worker_id"}),
    "rochallor_worker_slots": ("gauge", set()),
    "rochallor_worker_slots_busy": ("gauge", set()),
    "rochallor_worker_slot_busy_seconds": ("counter", set()),
    "rochallor_worker_utilization_ratio": ("gauge", set()),
    "rochallor_worker_engine_up": ("gauge", set()),
    "rochallor_worker_loop_lag_seconds": ("gauge", set()),
    "rochallor_worker_jobs": ("counter", {"job_type", "outcome"}),
    "rochallor_worker_handler_seconds": ("histogram", {"job_type"}),
    "rochallor_worker_queue_seconds": ("histogram", set()),
    "rochallor_worker_wait_seconds": ("histogram", {"job_type"}),
    "rochallor_worker_recent_wait_seconds": ("gauge", set()),
    "rochallor_worker_outcome_seconds": ("histogram", set()),
    "rochallor_worker_polls": ("counter", {"result"}),
    "rochallor_worker_claims_expired": ("counter", set()),
    "rochallor_worker_handler_timeouts": ("counter", {"job_type"}),
    "rochallor_worker_outcome_retries": ("counter", set()),
    "rochallor_worker_lease_seconds": ("gauge", set()),
    "rochallor_worker_lease_renewals": ("counter", {"result"}),
    "rochallor_worker_lease_overruns": ("counter", {"job_type"}),
    "rochallor_worker_breaker_open": ("gauge", {"job_type"}),
    "rochallor_worker_parked": ("gauge", {"job_type"}),
    "rochallor_worker_postponed": ("counter", {"job_type"}),
    "rochallor_worker_clock_skew_seconds": ("gauge", set()),
    "rochallor_worker_duplicates": ("counter", set()),
    "rochallor_worker_journal_entries": ("gauge", set()),
    "rochallor_worker_journal_errors": ("counter", set()),
    "rochallor_worker_journal_recalled": ("counter", set()),
    "rochallor_worker_kafka_lag": ("gauge", {"topic", "partition"}),
    "rochallor_worker_kafka_paused": ("gauge", set()),
    "rochallor_worker_kafka_skipped": ("counter", {"job_type"}),
}  # fmt: skip


def make_metrics() -> tuple[Runner, Sampler, Metrics]:
    registry = Registry()

    @registry.handler("a")
    async def a(_: object) -> None: ...

    runner = Runner(FaultyEngine(), registry, worker_id="w", clock=loop_time, parallelism=4)
    sampler = Sampler(runner.slots, runner.gates, loop_time)
    return runner, sampler, Metrics(runner, sampler, transport="rest", worker_id="w")


EVENTS: tuple[Event, ...] = (
    Polled("full", 0.1),
    Started("a", 0.1, 2),
    Executed("a", "completed", 0.1, "", "i"),
    Reported("a", "completed", "accepted", 0.1),
    OutcomeRetried("a"),
    TimedOut("a"),
    ClaimExpired("a"),
    Duplicate("a"),
    Skipped("a"),
    Leased(30.0, 0.5),
    Renewed("a", "renewed"),
    Overran("a"),
)


def families(metrics: Metrics, prefix: str) -> dict[str, tuple[str, set[str]]]:
    return {
        family.name: (
            family.type,
            {label for sample in family.samples for label in sample.labels if label != "le"},
        )
        for family in text_string_to_metric_families(metrics.exposition().decode())
        if family.name.startswith(prefix) and not family.name.endswith("_created")
    }


async def test_names_types_and_labels_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PollingSource, "partitions", {("workflow.jobs.a", 0): PartitionState(1, paused=False)})
    _, _, metrics = make_metrics()
    for event in EVENTS:
        metrics.observe(event)
    assert families(metrics, "rochallor_worker_") == DOCUMENTED


async def test_dropped_spans_are_counted_where_there_are_spans() -> None:
    _, _, metrics = make_metrics()
    metrics.count_dropped_spans(lambda: 7)
    assert families(metrics, "rochallor_worker_spans") == {"rochallor_worker_spans_dropped": ("counter", set())}
    assert "rochallor_worker_spans_dropped_total 7.0" in metrics.exposition().decode().splitlines()


async def test_metrics_of_handlers_in_the_default_registry_are_exported_once() -> None:
    _, _, metrics = make_metrics()
    theirs = Counter("shop_charges", "Charged cards.")
    twin = Gauge("rochallor_worker_slots", "Another of this name.")
    theirs.inc(3)
    twin.set(1000)
    try:
        exposition = metrics.exposition().decode()
    finally:
        REGISTRY.unregister(theirs)
        REGISTRY.unregister(twin)
    names = [family.name for family in text_string_to_metric_families(exposition)]
    assert sorted(names) == sorted(set(names))
    lines = exposition.splitlines()
    assert "shop_charges_total 3.0" in lines
    assert [line for line in lines if line.startswith("rochallor_worker_slots ")] == ["rochallor_worker_slots 4.0"]
    assert sum(line.startswith("process_resident_memory_bytes ") for line in lines) == 1


async def test_a_collector_that_fails_costs_only_the_default_registry(logged: list[dict[str, Any]]) -> None:
    class Broken(Collector):
        def collect(self) -> Iterator[Metric]:
            yield GaugeMetricFamily("shop_stock", "Items.", value=1)
            raise RuntimeError("no connection")

        def describe(self) -> list[Metric]:
            return []

    _, _, metrics = make_metrics()
    broken = Broken()
    REGISTRY.register(broken)
    try:
        exposition = [metrics.exposition().decode() for _ in range(2)][1]
    finally:
        REGISTRY.unregister(broken)
    assert "rochallor_worker_slots 4.0" in exposition
    assert [(entry["event"], entry["error"]) for entry in logged] == [
        ("the default registry of prometheus_client cannot be read", "RuntimeError: no connection")
    ]


async def test_the_names_of_the_engines_sdks_are_exported_on_request() -> None:
    _, _, metrics = make_metrics()
    sdk = SdkMetrics(metrics.registry)
    for event in (*EVENTS, Executed("a", "failed_retryable", 0.1, "boom", "i")):
        sdk.observe(event)
    assert families(metrics, "workflow_sdk_") == {
        "workflow_sdk_poll_latency_seconds": ("histogram", set()),
        "workflow_sdk_lock_conflicts": ("counter", set()),
        "workflow_sdk_handler_latency_seconds": ("histogram", {"job_type"}),
        "workflow_sdk_retries": ("counter", {"job_type"}),
        "workflow_sdk_jobs_completed": ("counter", {"job_type", "outcome"}),
        "workflow_sdk_heartbeat": ("counter", {"result"}),
        "workflow_sdk_callback_retries": ("counter", {"dispatch"}),
        "workflow_sdk_callback_rejected": ("counter", {"dispatch", "callback"}),
        "workflow_sdk_kafka_record_errors": ("counter", set()),
    }


@pytest.mark.parametrize(
    ("event", "name", "labels"),
    [
        (Polled("empty", 0.1), "poll_latency_seconds_count", {}),
        (Duplicate("a"), "lock_conflicts_total", {}),
        (ClaimExpired("a"), "lock_conflicts_total", {}),
        (Executed("a", "completed", 0.1, "", "i"), "handler_latency_seconds_count", {"job_type": "a"}),
        (Executed("a", "failed_retryable", 0.1, "boom", "i"), "retries_total", {"job_type": "a"}),
        (Reported("a", "completed", "accepted", 0.1), "jobs_completed_total", {"job_type": "a", "outcome": "success"}),
        (Reported("a", "failed_final", "accepted", 0), "jobs_completed_total", {"job_type": "a", "outcome": "failure"}),
        (Renewed("a", "renewed"), "heartbeat_total", {"result": "accepted"}),
        (Renewed("a", "failed"), "heartbeat_total", {"result": "retry"}),
        (Renewed("a", "lost"), "heartbeat_total", {"result": "lease_lost"}),
        (Renewed("a", "unsupported"), "heartbeat_total", {"result": "rejected"}),
        (OutcomeRetried("a"), "callback_retries_total", {"dispatch": "kafka"}),
        (
            Reported("a", "completed", "refused", 0.1),
            "callback_rejected_total",
            {"dispatch": "kafka", "callback": "complete"},
        ),
        (
            Reported("a", "failed_retryable", "refused", 0.1),
            "callback_rejected_total",
            {"dispatch": "kafka", "callback": "fail"},
        ),
        (Skipped("a"), "kafka_record_errors_total", {}),
    ],
)
async def test_an_event_counts_as_the_sdks_would_count_it(event: Event, name: str, labels: dict[str, str]) -> None:
    registry = CollectorRegistry()
    SdkMetrics(registry, "kafka").observe(event)
    assert registry.get_sample_value(f"workflow_sdk_{name}", labels) == 1


@pytest.mark.parametrize("verdict", ["late", "lost", "abandoned"])
async def test_an_outcome_neither_accepted_nor_refused_is_none_of_the_sdks_outcomes(
    verdict: Verdict,
) -> None:
    registry = CollectorRegistry()
    SdkMetrics(registry).observe(Reported("a", "completed", verdict, 0.1))
    counted = {sample.name for family in registry.collect() for sample in family.samples if sample.value == 1}
    assert counted == set()


async def test_the_sdks_counters_start_at_zero() -> None:
    registry = CollectorRegistry()
    SdkMetrics(registry)
    for result in ("accepted", "retry", "lease_lost", "rejected"):
        assert registry.get_sample_value("workflow_sdk_heartbeat_total", {"result": result}) == 0
    rejected = {"dispatch": "polling", "callback": "complete"}
    assert registry.get_sample_value("workflow_sdk_callback_rejected_total", rejected) == 0


@pytest.mark.parametrize(
    ("verdict", "label"), [("accepted", "failed_final"), ("refused", "refused"), ("abandoned", "abandoned")]
)
async def test_a_job_counts_as_its_outcome_only_if_the_engine_accepted_it(verdict: str, label: str) -> None:
    _, _, metrics = make_metrics()
    metrics.observe(Reported("a", "failed_final", verdict, 0.1))  # type: ignore[arg-type]
    value = metrics.registry.get_sample_value("rochallor_worker_jobs_total", {"job_type": "a", "outcome": label})
    assert value == 1


@pytest.mark.parametrize(
    ("problem", "up"),
    [
        (None, 1),
        (Problem("Starting", "x"), 0),
        (Problem("EngineUnreachable", "x"), 0),
        (Problem("EngineRefuses", "x"), 0),
        (Problem("TransportMismatch", "x"), 1),
        (Problem("KafkaUnreachable", "x"), 1),
    ],
)
async def test_the_engine_is_up_while_it_answers_whatever_else_is_wrong(
    monkeypatch: pytest.MonkeyPatch, problem: Problem | None, up: float
) -> None:
    _, _, metrics = make_metrics()
    monkeypatch.setattr(Runner, "problem", problem)
    assert metrics.registry.get_sample_value("rochallor_worker_engine_up") == up


@pytest.mark.looptime
async def test_utilization_is_the_mean_of_the_last_fifteen_seconds() -> None:
    runner, sampler, metrics = make_metrics()
    sampling = asyncio.create_task(sampler.run())
    await asyncio.sleep(100)
    await runner.lanes[0].slots.reserve(2)
    runner.lanes[0].slots.occupy()
    runner.lanes[0].slots.occupy()
    await asyncio.sleep(7.5)
    assert metrics.registry.get_sample_value("rochallor_worker_utilization_ratio") == pytest.approx(0.25, abs=0.02)
    await asyncio.sleep(30)
    assert metrics.registry.get_sample_value("rochallor_worker_utilization_ratio") == pytest.approx(0.5)
    assert metrics.registry.get_sample_value("rochallor_worker_slot_busy_seconds_total") == pytest.approx(75)
    sampling.cancel()


async def test_a_wait_that_is_not_known_is_not_counted() -> None:
    _, _, metrics = make_metrics()
    for waited in (0.0, 7200.0, None):
        metrics.observe(Started("a", 0.1, waited))
    value = metrics.registry.get_sample_value
    assert value("rochallor_worker_wait_seconds_count", {"job_type": "a"}) == 2
    assert value("rochallor_worker_wait_seconds_sum", {"job_type": "a"}) == 7200
    assert value("rochallor_worker_queue_seconds_count") == 3


@pytest.mark.looptime
async def test_the_recent_wait_is_the_mean_of_jobs_that_started_in_the_last_fifteen_seconds() -> None:
    _, sampler, metrics = make_metrics()

    def wait() -> float | None:
        return metrics.registry.get_sample_value("rochallor_worker_recent_wait_seconds")

    sampling = asyncio.create_task(sampler.run())
    assert wait() == 0
    for waited in (4.0, 6.0, None):
        sampler.observe(Started("a", 0.1, waited))
    assert wait() == 5
    await asyncio.sleep(10)
    sampler.observe(Started("a", 0.1, 11.0))
    assert wait() == 7
    await asyncio.sleep(7)
    assert wait() == 11
    await asyncio.sleep(10)
    assert wait() == 0
    sampling.cancel()


@pytest.mark.looptime
async def test_what_a_breaker_or_a_rate_of_all_pods_holds_back_has_waited_only_since() -> None:
    runner, sampler, _ = make_metrics()
    gates = {
        "broken": Gate("broken", Limits(breaker=Breaker(failures=1)), loop_time, one_pod),
        "shared": Gate("shared", Limits(per_second=10, scope="resource"), loop_time, one_pod),
        "own": Gate("own", Limits(per_second=10, parallelism=1), loop_time, one_pod),
    }
    sampler = Sampler(runner.slots, gates, loop_time)
    sampling = asyncio.create_task(sampler.run())
    await asyncio.sleep(100)
    for gate in gates.values():  # fails, and uses a second's runs up
        for _ in range(10):
            permit = gate.enter()
            permit.begin()
        permit.failed("down")
    await asyncio.sleep(0.01)
    assert [gate.held_back for gate in gates.values()] == [True, True, False]
    await asyncio.sleep(5)
    counted: list[float] = []
    for job_type in gates:
        before = sampler.recent_wait * len(counted)
        sampler.observe(Started(job_type, 0.1, 90))
        counted.append(sampler.recent_wait * (len(counted) + 1) - before)
    sampling.cancel()
    # looked at once a second: the breaker has been open until now, the rate has not been used up since
    assert counted == pytest.approx([0.01, 5.01, 90])
