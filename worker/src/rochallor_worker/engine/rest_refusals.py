"""What an answer other than 2xx means for the caller.

Gateways answer by the same numbers as the engine, so only an error of the engine's shape is taken for its word
(engine.md: JSON with `error` and with `reason` or `message`; plain text for a path that it does not know).
"""

from collections.abc import Callable
from typing import Any

import msgspec

from rochallor_worker.engine.base import UNREADABLE, one_line
from rochallor_worker.errors import (
    AnswerLost,
    Conflict,
    DispatchMismatch,
    EngineError,
    InternalError,
    NotFound,
    Rejected,
    Unreachable,
)

_KINDS: dict[int, type[EngineError]] = {404: NotFound, 409: Conflict, 410: DispatchMismatch}
_TURNED_AWAY = {401, 403, 407, 429}
"""The engine has no authentication and no quota: a gateway said this."""
_GIVEN_UP = {408, 502, 504}
"""A gateway no longer waits for the engine, which may carry the request out all the same."""
_TOO_LARGE = 413
"""A limit of a gateway, but about the content: the same again cannot pass."""


def refusal(call: str, status: int, answer: bytes, redact: Callable[[str], str]) -> EngineError:
    """Return the error that an answer means. `redact` takes out of its text what nobody may read."""
    fields = _fields(answer)
    engines = "error" in fields
    reason = str(fields.get("reason") or fields.get("message") or fields.get("error") or "")
    words = reason if fields else answer.decode(errors="replace")
    text = f"{call}: {status} {one_line(redact(words))}".rstrip()
    if status in _GIVEN_UP:
        return AnswerLost(text)
    if status >= 500:
        # engine.md: an unknown job, and an instance of an unknown definition
        return NotFound(text) if status == 500 and engines and "not found" in reason else InternalError(text)
    if status == _TOO_LARGE:
        return Rejected(text)
    if status < 400 or status in _TURNED_AWAY or not engines:
        return Unreachable(text)
    return _KINDS.get(status, Rejected)(text)


def _fields(answer: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except UNREADABLE:
        return {}
