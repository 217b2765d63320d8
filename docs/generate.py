"""`python docs/generate.py`: writes the reference pages whose facts are in the code; a test holds them equal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from rochallor_operator import metrics as operator_metrics
from rochallor_worker import Registry, Runner
from rochallor_worker.engine.fake import FakeEngine
from rochallor_worker.metrics import Metrics
from rochallor_worker.pulse import Pulse
from rochallor_worker.settings import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Metric = tuple[str, str, tuple[str, ...], str]

REFERENCE = Path(__file__).parent / "reference"
GENERATED = "<!-- Written by docs/generate.py from the code; edit it there. -->\n\n"


def settings_page() -> str:
    """Every ROCHALLOR_ variable of a worker, its default and what it allows."""
    rows = ["| variable | default | allowed |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{PREFIX}{name.upper()}` | {_default(name)} | {field.description} |")
    return (
        GENERATED
        + "# Settings of a worker\n\nEnvironment variables. A bad value stops the start with one line that names the"
        + " variable, the value and what is allowed.\n\n"
        + "\n".join(rows)
        + "\n"
    )


def metrics_page() -> str:
    """Every metric of a worker with its type and labels."""
    return (
        GENERATED
        + "# Metrics of a worker\n\nServed at `/metrics`, with the usual `process_*` and `python_*`. Times: seconds."
        + " `ROCHALLOR_METRICS_COMPAT=1` adds the five `workflow_sdk_*` names of the engine's own SDKs.\n\n"
        + _table(_metrics())
    )


def operator_metrics_page() -> str:
    """Every metric of the operator with its type and labels."""
    return (
        GENERATED
        + "# Metrics of the operator\n\nServed at `/metrics`, with the usual `process_*` and `python_*`."
        + " Times: seconds.\n\n"
        + _table(_operator_metrics())
    )


PAGES = {"settings.md": settings_page, "metrics.md": metrics_page, "operator-metrics.md": operator_metrics_page}


def _table(metrics: Iterable[Metric]) -> str:
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for name, kind, labels, text in sorted(metrics):
        shown = ", ".join(f"`{label}`" for label in labels)
        rows.append(f"| `{name}` | {kind} | {shown} | {text} |")
    return "\n".join(rows) + "\n"


def _operator_metrics() -> Iterator[Metric]:
    labels = {
        value._name: value._labelnames  # noqa: SLF001 (as below)
        for value in vars(operator_metrics).values()
        if isinstance(value, MetricWrapperBase)
    }
    resources = operator_metrics.Resources(lambda: ())
    for family in REGISTRY.collect():
        if family.name in labels:
            suffix = "_total" if family.type == "counter" else ""
            yield family.name + suffix, family.type, tuple(labels[family.name]), family.documentation
    for family in resources.collect():
        yield family.name, family.type, operator_metrics.RESOURCE_LABELS, family.documentation


def _default(name: str) -> str:
    shown = {
        "poll_interval": "`500ms`",
        "lease": "`30s`",
        "drain_timeout": "`25s`",
        "kafka_dedup_window": "`10m`",
        "worker_id": "the host's name",
    }
    if name in shown:
        return shown[name]
    value = Settings.model_fields[name].default
    return f"`{value}`" if value not in (None, "", [], (), False) else "–"


def _metrics() -> Iterator[Metric]:
    registry = Registry()
    registry.handler("a")(lambda _: None)
    runner = Runner(FakeEngine(), registry, worker_id="w", clock=lambda: 0.0)
    pulse = Pulse(runner.slots, lambda: 0.0)
    metrics = Metrics(runner, pulse, transport="rest", worker_id="w")
    counted = {
        value._name: value._labelnames  # noqa: SLF001 — the library has no public way to list a metric's labels
        for value in vars(metrics).values()
        if isinstance(value, MetricWrapperBase)
    }
    for family in metrics.registry.collect():
        if family.name.startswith("rochallor_"):
            suffix = "_total" if family.type == "counter" else ""
            labels = tuple(counted.get(family.name, getattr(family, "_labelnames", ())))
            yield family.name + suffix, family.type, labels, family.documentation


def main() -> None:
    """Write the pages."""
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
        sys.stdout.write(f"wrote {REFERENCE / name}\n")


if __name__ == "__main__":
    main()
