"""The doctor's findings: one row of a table each."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

State = Literal["ok", "–", "note", "warning", "failed"]
"""A dash: not checked. A note is as good as ok, with something you may do."""

WIDTH = 140
"""Width of the table where the output is no terminal, as in a log."""
_STYLES: dict[State, str] = {"ok": "green", "–": "dim", "note": "cyan", "warning": "yellow", "failed": "bold red"}


class Finding(NamedTuple):
    """One row. Its texts are one line each, for people, and contain no secrets."""

    check: str
    state: State
    found: str
    advice: str = ""
    """What to do, or what you can rely on."""


def failed(findings: Iterable[Finding]) -> bool:
    """Whether something would keep a worker from working."""
    return any(finding.state == "failed" for finding in findings)


def show(findings: Iterable[Finding], last: str = "what to do") -> None:
    """Print the findings as a table; `last` is the heading of its last column."""
    table = Table("check", "state", "what was found", last, show_lines=False)
    for finding in findings:
        # other programs' answers are plain text, whatever brackets they contain
        state = Text(finding.state, style=_STYLES[finding.state])
        table.add_row(Text(finding.check), state, Text(finding.found), Text(finding.advice))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)
