"""What an answer other than 2xx means for the caller.

Gateways use the same status codes as the engine, so only an error in the engine's format counts as the engine's answer
(engine.md: JSON with `error` and with `reason` or `message`; plain text for an unknown path).
"""

from collections.abc import Callable
from typing import Any

import msgspec

from rochallor_worker.engine.answers import breaks_schema, names_nothing
from rochallor_worker.engine.client import UNREADABLE, one_line
from rochallor_worker.errors import (
    AnswerLost,
    Conflict,
    DispatchMismatch,
    EngineError,
    InternalError,
    NotFound,
    NotSupported,
    Rejected,
    SchemaViolation,
    TurnedAway,
)

_KINDS: dict[int, type[EngineError]] = {404: NotFound, 409: Conflict, 410: DispatchMismatch}
_GATEWAYS: dict[int, type[EngineError]] = {
    # turned away: the engine has no authentication and no quota
    **dict.fromkeys((401, 403, 407, 429), TurnedAway),
    # given up: the engine may still carry out the request
    **dict.fromkeys((408, 502, 504), AnswerLost),
    # a limit, but on the content: the same request cannot pass
    413: Rejected,
}
"""What only a gateway answers, in whatever format."""
_NEVER_QUOTED = {401, 403, 407}
_LACKING = {404, 405, 501}
"""What an engine answers to a call that it lacks, in its own format or in plain text."""


def refusal(
    call: str,
    url: str,
    status: int,
    answer: bytes,
    redact: Callable[[str], str],
    unknown: type[EngineError] | None = None,
) -> EngineError:
    """Return the error that an answer means. `redact` removes secrets from its text.

    `unknown` is given for a call that older engines lack: the meaning of a 404 in the engine's own format.
    """
    fields = _fields(answer)
    reason = str(fields.get("reason") or fields.get("message") or fields.get("error") or "")
    engines = "error" in fields
    kind = _kind(status, reason if engines else None, unknown)
    if engines:
        return kind(f"{call}: {status} {one_line(redact(reason))}".rstrip())
    # a server that refuses a token is never quoted: it may repeat the token in a form that is not recognised
    text = "" if status in _NEVER_QUOTED else one_line(redact(reason or answer.decode(errors="replace")))
    quoted = f", which is not the engine's answer: {text}" if text else ""
    return kind(f"{call} at {url}: answered {status}{quoted}")


def _kind(status: int, reason: str | None, unknown: type[EngineError] | None) -> type[EngineError]:
    """Return what a status means; `reason` is None if the answer is not in the engine's format."""
    if reason is not None and breaks_schema(reason):
        return SchemaViolation
    if status in _GATEWAYS:
        return _GATEWAYS[status]
    if unknown and status in _LACKING:
        return unknown if status == 404 and reason is not None else NotSupported
    if status >= 500:
        return NotFound if status == 500 and reason is not None and names_nothing(reason) else InternalError
    if status < 400 or reason is None:
        return TurnedAway
    return _KINDS.get(status, Rejected)


def _fields(answer: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except UNREADABLE:
        return {}
