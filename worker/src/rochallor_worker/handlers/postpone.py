"""`raise Postpone(after=60)`: not now. The job runs again later, and no retry is spent."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from rochallor_worker.backoff import is_number
from rochallor_worker.errors import RochallorError

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORTEST = 1.0
"""Fewest seconds for which a response postpones a job: 0, or a date that has passed, would run it in a circle."""
LONGEST = 24 * 3600.0
"""Most seconds for which a job can be postponed."""


class Postpone(RochallorError):  # noqa: N818 — no error: what a handler decides
    """Raise this from a handler to have the job run again `after` so many seconds; no retry is spent.

    Longer than a day counts as a day. Raises `ValueError` for what is no number of seconds from 0.
    """

    def __init__(self, message: str = "postponed", *, after: float) -> None:
        given: Any = after  # whatever the annotation says
        if not (is_number(given) and 0 <= given < math.inf):
            raise ValueError(
                f"after is a number of seconds from 0 to {LONGEST:.0f} (longer counts as a day), not {after!r}"
            )
        super().__init__(message)
        self.message = str(message)
        self.after = min(after, LONGEST)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Postpone, self.message, after=self.after), ()  # by itself an exception has no keywords


def postpone_from(response: Any, *, default: float = 30.0) -> Postpone:
    """Return what to raise after a response such as 429 or 503, which may say how long to wait, in `Retry-After`.

    `response` has the headers of httpx, aiohttp or requests, or is a mapping of headers itself. `default` is for one
    that does not say, in seconds.
    """
    headers: Mapping[str, str] = getattr(response, "headers", response)
    text = str(next((value for name, value in headers.items() if name.lower() == "retry-after"), "")).strip()
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    message = f"postponed: the service answered {status}" if status else "postponed: the service asks to wait"
    if text.isdecimal():
        return Postpone(message, after=max(SHORTEST, min(float(text), LONGEST)))
    try:
        until = parsedate_to_datetime(text)
        # a date of HTTP is in GMT, said or not
        left = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        left = default
    return Postpone(message, after=max(SHORTEST, left))
