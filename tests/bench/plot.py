"""Small charts as SVG text, for the docs: as wide as a phone, with a background of their own, light or dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, ROW, MARGIN = 420, 40, 12
LEFT, PANEL = 52, 130
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#334155}.title{font-weight:600}.paper{fill:#fff}"
    ".ours{fill:#2563eb}.theirs{fill:#94a3b8}.axis{stroke:#94a3b8;fill:none}.grid{stroke:#e5e7eb}"
    ".curve{fill:none;stroke-width:2;stroke:#2563eb}.other{stroke:#b45309}"
    "@media(prefers-color-scheme:dark){text{fill:#e2e8f0}.paper{fill:#1e2129}.ours{fill:#6b9bff}.theirs{fill:#64748b}"
    ".axis{stroke:#64748b}.grid{stroke:#3a4152}.curve{stroke:#6b9bff}.other{stroke:#fbbf24}}"
)


def bars(title: str, rows: Sequence[tuple[str, float, str, bool]]) -> str:
    """Draw horizontal bars: label, value, how the value is written, and whether it is ours."""
    most = max(value for _, value, _, _ in rows)
    parts = []
    for number, (label, value, written, ours) in enumerate(rows):
        y, length = 40 + number * ROW, (WIDTH - 2 * MARGIN) * value / most
        parts.append(text(MARGIN, y + 10, label))
        parts.append(text(WIDTH - MARGIN, y + 10, written, "end"))
        name = "ours" if ours else "theirs"
        parts.append(f'<rect class="{name}" x="{MARGIN}" y="{y + 15}" width="{length:.1f}" height="14" rx="2"/>')
    return svg(title, 46 + len(rows) * ROW, parts)


def lines(title: str, x_label: str, series: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Draw small panels one below the other, each with its own scale from zero."""
    parts, wide = [], WIDTH - LEFT - MARGIN
    for number, (label, points) in enumerate(series):
        top = 44 + number * PANEL
        most_x, most_y = max(x for x, _ in points), max(y for _, y in points) * 1.15
        parts.append(curve([(LEFT + wide * x / most_x, top + 90 - 90 * y / most_y) for x, y in points]))
        parts.append(f'<path class="axis" d="M{LEFT} {top}V{top + 90}H{WIDTH - MARGIN}"/>')
        parts.append(text(LEFT - 6, top + 8, f"{most_y:.3g}", "end"))
        parts.append(text(LEFT - 6, top + 92, "0", "end"))
        parts.append(text(LEFT + 6, top + 6, label))
        parts.append(text(WIDTH - MARGIN, top + 108, f"{most_x:.3g} {x_label}", "end"))
    return svg(title, 44 + len(series) * PANEL, parts)


def curve(points: Sequence[tuple[float, float]], kind: str = "") -> str:
    """Draw a curve through these points; `kind` is "other" for the second of a panel."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{f"curve {kind}".strip()}" points="{path}"/>'


def svg(title: str, height: float, parts: Sequence[str]) -> str:
    """Return the file of a chart with these parts."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            f' role="img"><title>{escape(title)}</title><style>{STYLE}</style>',
            f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
            f'<text class="title" x="{MARGIN}" y="22">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def text(x: float, y: float, content: str, anchor: str = "start") -> str:
    """Write a line; `anchor` is the end of it that stands at `x`."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'
