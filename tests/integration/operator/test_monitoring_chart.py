"""The objects for a Prometheus Operator and Grafana in the operator's chart. (The e2e tests run its queries.)"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from integration.operator.conftest import CHART
from integration.operator.test_chart import objects, only, render
from rochallor_operator.desired.autoscaling import autoscaler
from unit.operator.samples import worker
from unit.operator.test_desired import KEDA

if TYPE_CHECKING:
    from integration.operator.api import Object

ALERTS = CHART / "files" / "alerts.yaml"
TESTS = Path(__file__).with_name("alerts_test.yaml")
ALL = ("--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true")


def rules() -> list[Object]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_each_alert_fires_for_its_problem(promtool: str, tmp_path: Path) -> None:
    for file in (ALERTS, TESTS):
        shutil.copy(file, tmp_path)
    command = [promtool, "test", "rules", TESTS.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("stopped", "minutes", "busy"), [(False, 5, 1.5), (False, 7, None), (True, 7, 0.0)])
def test_pods_that_are_no_longer_scraped_do_not_count_as_idle(
    promtool: str, tmp_path: Path, stopped: bool, minutes: int, busy: float | None
) -> None:
    """Prometheus's answer to KEDA. No value is an error there, and keeps the pods."""
    query = autoscaler(worker(**KEDA), stopped=stopped)[-1]["spec"]["triggers"][0]["metadata"]["query"]
    series = 'rochallor_worker_utilization_ratio{namespace="shop",pod="payments-5d4f8c7b9d-%s"}'
    values = [{"series": series % pod, "values": f"{ratio}x5 stale"} for pod, ratio in (("x7k2p", 1), ("a2b3c", 0.5))]
    samples = [] if busy is None else [{"labels": "{}", "value": busy}]
    asked = {"expr": query, "eval_time": f"{minutes}m", "exp_samples": samples}
    file = tmp_path / "query_test.yaml"
    file.write_text(
        yaml.safe_dump({"tests": [{"interval": "1m", "input_series": values, "promql_expr_test": [asked]}]})
    )
    done = subprocess.run(
        [promtool, "test", "rules", file.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_and_says_what_to_do() -> None:
    tested = {
        each["alertname"] for case in yaml.safe_load(TESTS.read_text())["tests"] for each in case["alert_rule_test"]
    }
    assert {rule["alert"] for rule in rules()} == tested
    assert all(rule["annotations"]["description"].endswith(".") for rule in rules())


def test_metrics_in_alerts_and_dashboard_exist() -> None:
    reference = CHART.parents[1] / "docs" / "reference"
    pages = "".join((reference / name).read_text() for name in ("metrics.md", "operator-metrics.md"))
    dashboard = (CHART / "files" / "dashboard.json").read_text()
    used = set(re.findall(r"rochallor_(?:worker|operator)_\w+", ALERTS.read_text() + dashboard))
    known = set(re.findall(r"`(rochallor_(?:worker|operator)_\w+)`", pages))
    assert used
    assert {name.removesuffix("_bucket") for name in used} <= known


def test_no_monitoring_by_default() -> None:
    assert not {"ServiceMonitor", "PrometheusRule", "ConfigMap", "Service"} & {each["kind"] for each in objects()}


def test_the_service_monitor_finds_the_operator() -> None:
    selector = only("ServiceMonitor", *ALL)["spec"]["selector"]["matchLabels"]
    assert selector.items() <= only("Service", *ALL)["metadata"]["labels"].items()
    (endpoint,) = only("ServiceMonitor", *ALL)["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True, "a metric's namespace is the resource's"
    assert only("Service", *ALL)["spec"]["selector"] == only("Deployment")["spec"]["selector"]["matchLabels"]


def test_alerts_and_dashboard_are_the_files() -> None:
    assert only("PrometheusRule", *ALL)["spec"] == yaml.safe_load(ALERTS.read_text())
    data = only("ConfigMap", *ALL)["data"]["rochallor-workers.json"]
    assert json.loads(data) == json.loads((CHART / "files" / "dashboard.json").read_text())


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule"])
def test_a_prometheus_finds_it_by_its_labels(kind: str) -> None:
    labels = ("--set", "serviceMonitor.labels.release=prometheus,prometheusRule.labels.release=prometheus")
    found = only(kind, *ALL, *labels)["metadata"]["labels"]
    assert found["release"] == "prometheus"
    assert found["app.kubernetes.io/name"] == "rochallor-operator"


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule"])
def test_labels_can_be_removed(kind: str) -> None:
    none = ("--set", "serviceMonitor.labels=null,prometheusRule.labels=null")
    assert only(kind, *ALL, *none)["metadata"]["labels"] == only(kind, *ALL)["metadata"]["labels"]


def test_a_grafana_finds_the_dashboard() -> None:
    assert only("ConfigMap", *ALL)["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_a_wrong_value_is_refused_with_a_sentence() -> None:
    done = render("--set", "prometheusRule.enable=true")
    assert done.returncode != 0
    assert "additional properties 'enable' not allowed" in done.stderr
