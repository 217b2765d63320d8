"""Names, types and labels of the metrics are API: dashboards and alerts are written against them."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from rochallor_operator.runtime.metrics import Condition, Resources

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "operator-metrics.md"


def test_names_types_and_labels() -> None:
    rows = re.findall(r"\| `(\w+)` \| (\w+) \| ([^|]*) \|", PAGE.read_text())
    assert {name: (kind, labels.replace("`", "").strip()) for name, kind, labels in rows} == {
        "rochallor_operator_api_calls_total": ("counter", "verb, kind"),
        "rochallor_operator_backlog_age_seconds": ("gauge", "namespace, worker, job_type"),
        "rochallor_operator_backlog_jobs": ("gauge", "namespace, worker, job_type, state"),
        "rochallor_operator_backlog_read_errors_total": ("counter", "reason"),
        "rochallor_operator_leader": ("gauge", ""),
        "rochallor_operator_not_ready_seconds": ("gauge", "reason"),
        "rochallor_operator_queue_depth": ("gauge", ""),
        "rochallor_operator_reconcile_seconds": ("histogram", ""),
        "rochallor_operator_reconciles_total": ("counter", "result"),
        "rochallor_operator_resources": ("gauge", "condition, status, reason"),
        "rochallor_operator_unserved_jobs": ("gauge", "namespace, worker, job_type"),
        "rochallor_operator_watch_age_seconds": ("gauge", ""),
        "rochallor_operator_watch_silence_seconds": ("gauge", "kind"),
    }


def test_resources_are_counted_by_condition_and_the_longest_without_ready_is_timed() -> None:
    available, rolling = Condition("Ready", "True", "Available", 0), Condition("Ready", "False", "RollingOut", 100)
    healthy = Condition("Degraded", "False", "Healthy", 0)
    known = [[available, healthy], [available], [rolling], [rolling._replace(since=400)]]
    registry = CollectorRegistry()
    registry.register(Resources(lambda: known, lambda: 1000))
    assert [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")] == [
        'rochallor_operator_resources{condition="Degraded",reason="Healthy",status="False"} 1.0',
        'rochallor_operator_resources{condition="Ready",reason="RollingOut",status="False"} 2.0',
        'rochallor_operator_resources{condition="Ready",reason="Available",status="True"} 2.0',
        'rochallor_operator_not_ready_seconds{reason="RollingOut"} 900.0',
    ]
