"""Small charts as SVG text, for the docs."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, ROW, LEFT = 720, 26, 260
INK, ACCENT, QUIET = "#334155", "#2563eb", "#94a3b8"


def bars(title: str, unit: str, rows: Sequence[tuple[str, float, bool]]) -> str:
    """Draw horizontal bars: label, value, and whether to highlight it."""
    most = max(value for _, value, _ in rows)
    parts = []
    for number, (label, value, ours) in enumerate(rows):
        y, length = 40 + number * ROW, (WIDTH - LEFT - 130) * value / most
        parts.append(_text(LEFT - 8, y + 14, label, "end"))
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="18" rx="2" fill="{ACCENT if ours else QUIET}"/>'
        )
        parts.append(_text(LEFT + length + 6, y + 14, f"{value:,.0f} {unit}"))
    return _svg(title, 50 + len(rows) * ROW, parts)


def lines(title: str, x_label: str, series: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Draw small panels one below the other, each with its own scale from zero."""
    parts, panel = [], 130
    for number, (label, points) in enumerate(series):
        top = 40 + number * panel
        most_x, most_y = max(x for x, _ in points), max(y for _, y in points) * 1.15
        path = " ".join(f"{70 + (WIDTH - 110) * x / most_x:.1f},{top + 90 - 90 * y / most_y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{ACCENT}" stroke-width="2"/>')
        parts.append(f'<path d="M70 {top}V{top + 90}H{WIDTH - 40}" fill="none" stroke="{QUIET}"/>')
        parts.append(_text(64, top + 8, f"{most_y:.3g}", "end"))
        parts.append(_text(64, top + 92, "0", "end"))
        parts.append(_text(76, top + 6, label))
    parts.append(_text(WIDTH - 40, 40 + len(series) * panel - 20, x_label, "end"))
    return _svg(title, 40 + len(series) * panel, parts)


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" '
        f'font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
        + _text(12, 22, title, weight="600")
        + "".join(parts)
        + "</svg>\n"
    )


def _text(x: float, y: float, content: str, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{INK}">'
        f"{escape(content)}</text>"
    )
