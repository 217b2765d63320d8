"""The picture of the front page: who gives what to whom. `docs/generate.py` writes it."""

from __future__ import annotations

from html import escape

from pictures import svg

LEFT, RIGHT = 62, 348
"""Middles of the boxes."""
HALF = 54
TOP, BOTTOM = 38, 178
TITLE = "You apply a RochallorWorker; the operator runs its pods, which take jobs from the engine and report outcomes"


def draw() -> str:
    """The picture as SVG; as `pictures.draw` makes it."""
    return svg(
        TITLE,
        222,
        [
            _box(LEFT, TOP, "you"),
            _arrow(LEFT + HALF, RIGHT - HALF, TOP, "kubectl apply", "RochallorWorker"),
            _box(RIGHT, TOP, "operator"),
            f'<path class="says" marker-end="url(#tip)" d="M{RIGHT} {TOP + 24}V{BOTTOM - 38}"/>',
            f'<rect class="paper" x="{RIGHT - HALF}" y="{TOP + 45}" width="{2 * HALF}" height="38"/>',
            _lines(RIGHT, TOP + 60, "rolls out, scales,", "reverts, explains"),
            _box(LEFT, BOTTOM, "engine"),
            _arrow(LEFT + HALF, RIGHT - HALF - 4, BOTTOM - 12, "jobs: REST, gRPC, Kafka", ""),
            _arrow(RIGHT - HALF - 4, LEFT + HALF, BOTTOM + 14, "", "outcomes, until taken"),
            *(_box(RIGHT + shift, BOTTOM + shift, "", "") for shift in (10, 5)),
            _box(RIGHT, BOTTOM, "worker pods", "your handlers"),
        ],
    )


def _box(x: int, y: int, *lines: str) -> str:
    half = 32 if len(lines) > 1 else 24
    box = f'<rect class="box" x="{x - HALF}" y="{y - half}" width="{2 * HALF}" height="{2 * half}" rx="8"/>'
    return box + _lines(x, y + 5 - 9 * (len(lines) - 1), *lines)


def _lines(x: int, y: int, *lines: str) -> str:
    numbered = [(number, line) for number, line in enumerate(lines) if line]
    return "".join(f'<text x="{x}" y="{y + 18 * number}">{escape(line)}</text>' for number, line in numbered)


def _arrow(start: int, end: int, y: int, above: str, below: str) -> str:
    middle, tip = (start + end) // 2, -3 if start < end else 3
    arrow = f'<path class="says" marker-end="url(#tip)" d="M{start} {y}H{end + tip}"/>'
    return arrow + _lines(middle, y - 8, above) + _lines(middle, y + 18, below)
