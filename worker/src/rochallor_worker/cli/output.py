"""What commands print: tables for people, JSON for programs, once or again while it changes.

Texts of engines, jobs and pods may hold characters that move a terminal's cursor: they are shown escaped.
"""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from rochallor_worker.errors import AnswerLost, Away, InternalError, Unreachable

WATCH_SECONDS = 2.0
"""How often a watched answer is asked for again."""
WIDTH = 140
"""Width of tables where the output is no terminal, as in a log."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Shown(NamedTuple):
    """An answer in both forms; `final` if it cannot change any more."""

    people: RenderableType
    program: Any
    """What becomes JSON."""
    final: bool = False


def printable(text: str) -> str:
    """Escape the characters that move a terminal's cursor or reverse its text."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; texts are shown as they are, whatever brackets they contain, and whole: ids are copied."""
    made = Table(*(Column(name, overflow="fold") for name in columns))
    for row in rows:
        made.add_row(*(Text(printable(str(cell))) for cell in row))
    return made


def moment(time: datetime | None) -> str:
    """Return a time to the second, in UTC; a dash if there is none."""
    return "–" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def console() -> Console:
    """Return the console of the output."""
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = WIDTH
    return made


def show(shown: Shown, *, as_json: bool) -> None:
    """Print an answer."""
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown.program), indent=2).decode() + "\n")
    else:
        console().print(shown.people)


async def present(look: Callable[[], Awaitable[Shown]], *, as_json: bool, again: bool) -> None:
    """Print an answer once, or whenever it changes."""
    if again:
        await _watch(look, as_json=as_json)
    else:
        show(await look(), as_json=as_json)


async def _watch(look: Callable[[], Awaitable[Shown]], *, as_json: bool) -> None:
    """Print an answer whenever it changes, until it is final: in place on a terminal; as JSON, one line each.

    Once there was one, what keeps the next from coming is shown in its place.
    """
    with ExitStack() as stack:
        out = console()
        tell: Callable[[RenderableType], None] = out.print
        if out.is_terminal and not as_json:
            live = stack.enter_context(Live(console=out, auto_refresh=False))
            tell = partial(live.update, refresh=True)
        last = b""
        while True:
            try:
                shown = await look()
            except (Unreachable, AnswerLost, InternalError, Away) as error:
                if not last:
                    raise
                shown = Shown(Text(printable(str(error)), style="red"), {"error": str(error)})
            content = msgspec.json.encode(shown.program)
            if content != last and as_json:
                sys.stdout.write(content.decode() + "\n")
                sys.stdout.flush()
            elif content != last:
                tell(shown.people)
            last = content
            if shown.final:
                return
            await asyncio.sleep(WATCH_SECONDS)
