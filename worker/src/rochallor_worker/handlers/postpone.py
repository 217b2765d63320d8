"""`raise Postpone(after=60)`: not now. The job runs again later, and no retry is spent."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from rochallor_worker.errors import RochallorError

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 24 * 3600.0
"""Most seconds for which a job can be postponed."""


class Postpone(RochallorError):  # noqa: N818 — no error: what a handler decides
    """Raise this from a handler to have the job run again `after` so many seconds, at most a day; no retry is spent."""

    def __init__(self, message: str = "postponed", *, after: float) -> None:
        if not 0 <= after < math.inf:
            raise ValueError(f"after is a number of seconds from 0, not {after!r}")
        super().__init__(message, after)
        self.message = message
        self.after = min(after, LONGEST)

    def __str__(self) -> str:
        return self.message


def postpone_from(response: Any, *, default: float = 30.0) -> Postpone:
    """Return what to raise after a response such as 429 or 503, which may say how long to wait, in `Retry-After`.

    `response` has the headers of httpx, aiohttp or requests, or is a mapping of headers itself. `default` is for one
    that does not say, in seconds.
    """
    headers: Mapping[str, str] = getattr(response, "headers", response)
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    message = f"postponed: the service answered {status}" if status else "postponed: the service asks to wait"
    if text.isdecimal():
        return Postpone(message, after=min(float(text), LONGEST))
    try:
        left = (parsedate_to_datetime(text).astimezone(UTC) - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        left = default
    return Postpone(message, after=max(0.0, left))
