"""The metrics are API: their names, types and labels."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rochallor_worker import Registry, Runner
from rochallor_worker.compat import SdkMetrics
from rochallor_worker.events import (
    ClaimExpired,
    Duplicate,
    Event,
    Executed,
    OutcomeRetried,
    Polled,
    Reported,
    Skipped,
    Started,
    TimedOut,
)
from rochallor_worker.metrics import Metrics
from rochallor_worker.pulse import Pulse
from rochallor_worker.source.base import PartitionState
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
    "rochallor_worker_outcome_seconds": ("histogram", set()),
    "rochallor_worker_polls": ("counter", {"result"}),
    "rochallor_worker_claims_expired": ("counter", set()),
    "rochallor_worker_handler_timeouts": ("counter", {"job_type"}),
    "rochallor_worker_outcome_retries": ("counter", set()),
    "rochallor_worker_duplicates": ("counter", set()),
    "rochallor_worker_journal_entries": ("gauge", set()),
    "rochallor_worker_journal_errors": ("counter", set()),
    "rochallor_worker_journal_recalled": ("counter", set()),
    "rochallor_worker_kafka_lag": ("gauge", {"topic", "partition"}),
    "rochallor_worker_kafka_paused": ("gauge", set()),
    "rochallor_worker_kafka_skipped": ("counter", {"job_type"}),
}  # fmt: skip


def make_metrics() -> tuple[Runner, Pulse, Metrics]:
    registry = Registry()

    @registry.handler("a")
    async def a(_: object) -> None: ...

    runner = Runner(FaultyEngine(), registry, worker_id="w", clock=loop_time, parallelism=4)
    pulse = Pulse(runner.slots, loop_time)
    return runner, pulse, Metrics(runner, pulse, transport="rest", worker_id="w")


EVENTS: tuple[Event, ...] = (
    Polled("full", 0.1),
    Started("a", 0.1),
    Executed("a", "completed", 0.1, ""),
    Reported("a", "completed", "accepted", 0.1),
    OutcomeRetried("a"),
    TimedOut("a"),
    ClaimExpired("a"),
    Duplicate("a"),
    Skipped("a"),
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
    assert families(metrics, "rochallor_") == DOCUMENTED


async def test_the_names_of_the_engines_sdks_come_on_request() -> None:
    _, _, metrics = make_metrics()
    sdk = SdkMetrics(metrics.registry)
    for event in (*EVENTS, Executed("a", "failed_retryable", 0.1, "boom")):
        sdk.observe(event)
    assert families(metrics, "workflow_sdk_") == {
        "workflow_sdk_poll_latency_seconds": ("histogram", set()),
        "workflow_sdk_lock_conflicts": ("counter", set()),
        "workflow_sdk_handler_latency_seconds": ("histogram", {"job_type"}),
        "workflow_sdk_retries": ("counter", {"job_type"}),
        "workflow_sdk_jobs_completed": ("counter", {"job_type", "outcome"}),
    }


@pytest.mark.parametrize(
    ("verdict", "label"), [("accepted", "failed_final"), ("refused", "refused"), ("abandoned", "abandoned")]
)
async def test_a_job_counts_as_its_outcome_only_when_the_engine_took_it(verdict: str, label: str) -> None:
    _, _, metrics = make_metrics()
    metrics.observe(Reported("a", "failed_final", verdict, 0.1))  # type: ignore[arg-type]
    value = metrics.registry.get_sample_value("rochallor_worker_jobs_total", {"job_type": "a", "outcome": label})
    assert value == 1


@pytest.mark.looptime
async def test_utilization_is_the_mean_of_the_last_fifteen_seconds() -> None:
    runner, pulse, metrics = make_metrics()
    beating = asyncio.create_task(pulse.run())
    await asyncio.sleep(100)
    await runner.slots.reserve(2)
    runner.slots.occupy()
    runner.slots.occupy()
    await asyncio.sleep(7.5)
    assert metrics.registry.get_sample_value("rochallor_worker_utilization_ratio") == pytest.approx(0.25, abs=0.02)
    await asyncio.sleep(30)
    assert metrics.registry.get_sample_value("rochallor_worker_utilization_ratio") == pytest.approx(0.5)
    assert metrics.registry.get_sample_value("rochallor_worker_slot_busy_seconds_total") == pytest.approx(75)
    beating.cancel()
