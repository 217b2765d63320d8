"""Texts from elsewhere, made safe for a condition, an Event or a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LIMIT: Final = 1024
"""The longest text in characters: the API server's limit on an Event's message."""
_LISTED: Final = 10


def one_line(text: str, limit: int = LIMIT) -> str:
    """A text as one printable line of at most `limit` characters; a longer one ends with "…".

    Runs of white space become one space. Characters that control a terminal, are invisible or change the reading
    direction (ESC, U+202E, a lone surrogate) are written as escapes.
    """
    line = " ".join(text.split())[: limit + 1]
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def listed(names: Sequence[str], most: int = _LISTED) -> str:
    """Names for a sentence: the first few, and how many more there are."""
    if not names:
        return "none"
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
