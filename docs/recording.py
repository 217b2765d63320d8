"""`make recording`: runs `rochallor-worker demo` and draws what it prints, as it appears, into docs/pictures/demo.svg.

Its figures are those of the machine it runs on, so `make docs` leaves the picture as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.style import Style

FILE = Path(__file__).parent / "pictures" / "demo.svg"
COMMAND = "rochallor-worker demo"
COLUMNS = 53
LETTER, LINE, MARGIN, TOP = 7.5, 17, 11, 30
WIDTH = 420
MOST_SECONDS = 4.0
"""A longer demo, on a busy machine, is played faster."""
STYLE = (
    "text{font:12.5px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#e6e9f0;white-space:pre}"
    ".frame{fill:#161a26;stroke:#4a5264}.dim{fill:#8b94a7}.green{fill:#7ee787}.yellow{fill:#e3b341}.bold{font-weight:700}"
    "g{animation:shown 1ms both}@keyframes shown{from{visibility:hidden}}"
    "@media(prefers-reduced-motion:reduce){g{animation:none}}"
)
CLASSES = {8: "dim", 2: "green", 3: "yellow"}
"""By the number of a terminal's colour."""


class Line(NamedTuple):
    """A line with its colours, and when it was printed, in seconds since the start."""

    at: float
    printed: str


def record() -> Iterator[Line]:
    """Run the demo."""
    environment = os.environ | {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(COLUMNS)}
    program = Path(sys.executable).with_name("rochallor-worker")
    began = time.monotonic()
    with subprocess.Popen(  # noqa: S603
        [program, "demo"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None  # noqa: S101 — it was asked for
        for line in demo.stdout:
            yield Line(time.monotonic() - began, line)
    if demo.returncode:
        sys.exit(f"the demo ended with status {demo.returncode}")


def draw(lines: Sequence[Line]) -> str:
    """The lines in a window of a terminal, as SVG: each appears at its time."""
    pace = min(1.0, MOST_SECONDS / lines[-1].at)
    console = Console(width=COLUMNS, force_terminal=True)
    groups, y = [f'<text x="{MARGIN}" y="{TOP}"><tspan class="dim">$ </tspan>{escape(COMMAND)}</text>'], TOP
    for line in lines:
        text = Text.from_ansi(line.printed.rstrip())
        if not text.plain:
            continue
        parts = []
        for row in console.render_lines(text, pad=False):
            x, y = float(MARGIN), y + LINE
            for piece in row:
                wide = LETTER * len(piece.text)
                if piece.text.strip():
                    place = f'x="{x:g}" y="{y}" textLength="{wide:g}"'
                    parts.append(f"<text {place}{_named(piece.style)}>{escape(piece.text)}</text>")
                x += wide
        groups.append(f'<g style="animation-delay:{line.at * pace:.2f}s">{"".join(parts)}</g>')
    height = y + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            f' role="img"><title>What {COMMAND} prints</title><style>{STYLE}</style>',
            f'<rect class="frame" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
            *groups,
            "</svg>\n",
        ]
    )


def _named(style: Style | None) -> str:
    if style is None:
        return ""
    colour = CLASSES.get(style.color.number or 0, "") if style.color else ""
    names = f"{colour} {'bold' if style.bold else ''}".strip()
    return f' class="{names}"' if names else ""


if __name__ == "__main__":
    FILE.write_text(draw(list(record())), encoding="utf-8")
