"""What a handler returned → outcome: its JSON form, and what the engine could not store of it (pure)."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from rochallor_worker.handlers.failure import describe
from rochallor_worker.handlers.signature import Signature
from rochallor_worker.outcome import Completed, Failed, Outcome

MAX_RESULT_BYTES = 4 * 1024 * 1024
"""Largest result as JSON: a gRPC server refuses larger messages by default."""

# only the standard encoder refuses what is not JSON (NaN, sets) instead of changing it
_encode = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode
_MANY_DIGITS = re.compile(rb"[0-9]{19}")
"""What an integer of more than 64 bits looks like, and few other values do."""


def outcome_of(result: Any, signature: Signature | None = None) -> Outcome:
    """Return the outcome of a result. An invalid one is retryable: the next deployment may have fixed the program."""
    if result is None:
        return Completed({})
    try:
        if signature is not None:
            result = signature.result(result)
        if not isinstance(result, Mapping):
            return Failed(f"the handler returned {type(result).__name__}; must be a mapping or None", retryable=True)
        encoded = _encode(dict(result)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return Failed(f"the handler's result is not JSON: {describe(error)}", retryable=True)
    if len(encoded) > MAX_RESULT_BYTES:
        return Failed(
            f"the handler's result is {len(encoded):,} bytes of JSON; the limit is {MAX_RESULT_BYTES:,}",
            retryable=True,
        )
    # read back, so that the outcome is plain JSON, and no object of the handler that changes or raises later
    variables = json.loads(encoded)
    if wrong := _unstorable(encoded, variables):
        return Failed(f"the handler's result has {wrong}", retryable=True)
    return Completed(variables)


def _unstorable(encoded: bytes, variables: Any) -> str:
    """Return what in a result the engine cannot store as it is, or nothing."""
    if b"\\u0000" in encoded and (path := _where(_has_nul, variables)):
        return f"U+0000 in {path}, which the engine cannot store"
    if _MANY_DIGITS.search(encoded) and (path := _where(_is_too_long, variables)):
        return f"an integer of more than 64 bits in {path}, whose digits the engine would lose: return a string"
    return ""


def _has_nul(value: Any) -> bool:
    """Whether PostgreSQL always refuses a value (engine.md)."""
    return isinstance(value, str) and "\0" in value


def _is_too_long(value: Any) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**64


def _where(wrong: Callable[[Any], bool], value: Any, path: str = "") -> str:
    """Return the path of the first wrong value in a JSON value, or nothing."""
    match value:
        case dict():
            found = ((name, f"{path}.{name}".lstrip("."), inner) for name, inner in value.items())
            ways = (repr(way) if wrong(name) else _where(wrong, inner, way) for name, way, inner in found)
            return next(filter(None, ways), "")
        case list():
            ways = (_where(wrong, inner, f"{path}[{index}]") for index, inner in enumerate(value))
            return next(filter(None, ways), "")
        case _:
            return path if wrong(value) else ""
