"""The doctor's findings: one row of a table each."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from rich.table import Table
from rich.text import Text

from rochallor_worker.cli.output import console, printable

State = Literal["ok", "–", "note", "warning", "failed"]
"""A dash: not checked. A note is as good as ok, with something you may do."""

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
        check, *texts = (Text(printable(text)) for text in (finding.check, finding.found, finding.advice))
        table.add_row(check, state, *texts)
    console().print(table)
