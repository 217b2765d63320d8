"""`python -m e2e.autoscaling.graph`: draws the latest load wave in the cluster's Prometheus into docs/.

Run it after test_pods_follow_the_load_and_every_job_runs_once (`make graph` does both).
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import httpx

from cluster import images, monitoring
from cluster.__main__ import KUBECONFIG
from cluster.kubectl import Kubectl

FILE = images.ROOT / "docs" / "autoscaling.svg"
LOOK_BACK_S = 1800
STEP_S = 2
TICK_S = 15
BACKLOG = "engine_instances_active"
COLOURS = {"resize-hpa": "#2563eb", "resize-keda": "#d97706"}
"""The examples' workers."""
WIDTH, HEIGHT, LEFT, TOP, GAP = 720, 120, 56, 56, 44


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
            for name in COLOURS
        }
    FILE.write_text(draw(curves, end - start))


def draw(curves: dict[tuple[Panel, str], Curve], seconds: float) -> str:
    """Return the chart as SVG: panels one below the other, time from left to right."""
    height = TOP + len(PANELS) * (HEIGHT + GAP)
    view = f"0 0 {LEFT + WIDTH + 16} {height}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for index, (name, colour) in enumerate(COLOURS.items()):
        x = LEFT + 110 * index
        parts.append(
            f'<path d="M{x} 14h20" stroke="{colour}" stroke-width="2"/><text x="{x + 26}" y="18">{name}</text>'
        )
    for index, panel in enumerate(PANELS):
        top = TOP + index * (HEIGHT + GAP)
        peak = panel.top or 2 * math.ceil(max(value for name in COLOURS for _, value in curves[panel, name]) / 2)
        parts.append(f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{panel.heading}</text>')
        parts += _axes(top, peak, seconds)
        for name, colour in COLOURS.items():
            points = [
                (LEFT + WIDTH * at / seconds, top + HEIGHT * (1 - value / peak)) for at, value in curves[panel, name]
            ]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return "\n".join([*parts, "</svg>", ""])


def _axes(top: float, peak: float, seconds: float) -> list[str]:
    lines = []
    for value in (0.0, peak / 2, peak):
        y = top + HEIGHT * (1 - value / peak)
        lines.append(f'<path d="M{LEFT} {y:.1f}h{WIDTH}" stroke="#e5e7eb"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#6b7280">{value:g}</text>')
    for at in range(0, int(seconds) + 1, TICK_S):
        x = LEFT + WIDTH * at / seconds
        label = f"{at} s"
        lines.append(f'<text x="{x:.1f}" y="{top + HEIGHT + 16}" text-anchor="middle" fill="#6b7280">{label}</text>')
    return lines


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
