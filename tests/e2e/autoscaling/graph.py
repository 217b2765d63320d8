"""`python -m e2e.autoscaling.graph`: draws the latest load wave in the cluster's Prometheus into docs/.

Run it after test_pods_follow_the_load_and_every_job_runs_once (`make graph` does both).
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import httpx

from bench import plot
from cluster import images, monitoring
from cluster.kubectl import KUBECONFIG, Kubectl

FILE = images.ROOT / "docs" / "autoscaling.svg"
LOOK_BACK_S = 1800
STEP_S = 2
TICK_S = 20
BACKLOG = "engine_instances_active"
KINDS = {"resize-hpa": "", "resize-keda": "other"}
"""The examples' workers, and how their curves are drawn."""
HEIGHT, TOP, GAP = 110, 62, 46


class Panel(NamedTuple):
    """One kind of curve: its heading, its query for a worker, and the end of its axis (None: the peak)."""

    heading: str
    query: str
    top: float | None


PODS = '{namespace="NAMESPACE",rochallor_io_worker="WORKER"}'
PANELS = (
    Panel("Jobs that wait or run", f'max({BACKLOG}{{namespace="NAMESPACE",definition="WORKER"}})', None),
    Panel("Utilization of the slots (target: 0.7)", f"avg(rochallor_worker_utilization_ratio{PODS})", 1),
    Panel("Pods", f"count(rochallor_worker_slots{PODS})", None),
)
Curve = list[tuple[float, float]]
"""Seconds and values."""


def main() -> None:
    """Query Prometheus and write the chart."""
    with Kubectl(KUBECONFIG, monitoring.NAMESPACE).port_forward("service/prometheus", 9090) as url:
        start, end, namespace = _wave(url)
        curves = {
            (panel, name): _curve(url, panel.query.replace("WORKER", name).replace("NAMESPACE", namespace), start, end)
            for panel in PANELS
            for name in KINDS
        }
    FILE.write_text(draw(curves, end - start))


def draw(curves: dict[tuple[Panel, str], Curve], seconds: float) -> str:
    """Return the chart as SVG: panels one below the other, time from left to right."""
    wide = plot.WIDTH - plot.LEFT - plot.MARGIN
    parts = []
    for index, (name, kind) in enumerate(KINDS.items()):
        x = plot.MARGIN + 130 * index
        parts += [plot.curve([(x, 39), (x + 20, 39)], kind), plot.text(x + 26, 43, name)]
    for index, panel in enumerate(PANELS):
        top = TOP + 16 + index * (HEIGHT + GAP)
        peak = panel.top or 2 * math.ceil(max(value for name in KINDS for _, value in curves[panel, name]) / 2)
        parts.append(plot.text(plot.LEFT, top - 8, panel.heading))
        for value in (0.0, peak / 2, peak):
            y = top + HEIGHT * (1 - value / peak)
            parts.append(f'<path class="grid" d="M{plot.LEFT} {y:.1f}h{wide}"/>')
            parts.append(plot.text(plot.LEFT - 6, y + 4, f"{value:g}", "end"))
        for at in range(0, int(seconds) + 1, TICK_S):
            parts.append(plot.text(plot.LEFT + wide * at / seconds, top + HEIGHT + 16, f"{at} s", "middle"))
        for name, kind in KINDS.items():
            points = [
                (plot.LEFT + wide * at / seconds, top + HEIGHT * (1 - value / peak))
                for at, value in curves[panel, name]
            ]
            parts.append(plot.curve(points, kind))
    return plot.svg("A load wave", TOP + len(PANELS) * (HEIGHT + GAP), parts)


def _wave(url: str) -> tuple[float, float, str]:
    """Return the start, end and namespace of the latest wave."""
    now = time.time()
    found = _range(url, f"sum by (namespace) ({BACKLOG})", now - LOOK_BACK_S, now)
    latest = max(found, key=lambda series: float(series["values"][-1][0]))
    times = [float(at) for at, value in latest["values"] if float(value) > 0]
    return times[0] - 10, times[-1] + 10, latest["metric"]["namespace"]


def _curve(url: str, query: str, start: float, end: float) -> Curve:
    return [
        (float(at) - start, float(value)) for series in _range(url, query, start, end) for at, value in series["values"]
    ]


def _range(url: str, query: str, start: float, end: float) -> list[dict[str, Any]]:
    asked: dict[str, str | float] = {"query": query, "start": start, "end": end, "step": STEP_S}
    answer = httpx.get(f"{url}/api/v1/query_range", params=asked).raise_for_status()
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


if __name__ == "__main__":
    main()
