"""ULIDs, the engine's ids: 26 characters of Crockford's base 32, 48 bits of milliseconds and 80 random ones."""

import re
from datetime import UTC, datetime

_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_TO_DIGITS = str.maketrans("ABCDEFGHJKMNPQRSTVWXYZ", "abcdefghijklmnopqrstuv")
"""Crockford's letters to those that `int` takes."""
_TIME_CHARS = 10


def number_of(text: str) -> int | None:
    """Return a ULID's 128 bits; None for what is no ULID as the engine writes it, in capitals."""
    return int(text.translate(_TO_DIGITS), 32) if _ULID.fullmatch(text) else None


def time_of(text: str) -> datetime | None:
    """Return when a ULID was made; None for what is none, or is of a year that `datetime` does not have."""
    if not _ULID.fullmatch(text):
        return None
    try:
        return datetime.fromtimestamp(int(text[:_TIME_CHARS].translate(_TO_DIGITS), 32) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
