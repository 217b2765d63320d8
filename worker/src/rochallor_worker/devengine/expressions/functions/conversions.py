"""Functions that convert values: to a type name, text or number, and from and to JSON, base64, times and durations."""

import base64
import binascii
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from rochallor_worker.devengine.expressions.gotext import LocatedError, plain, text_of, type_name
from rochallor_worker.devengine.expressions.values import Spend, is_number, text, to_int, wrapped

_INTEGER = re.compile(r"[+-]?\d{1,19}")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LAYOUTS = ("%Y-%m-%d", "%H:%M:%S", "%Y-%m-%d %H:%M:%S")
_GO_LAYOUT = {"2006": "%Y", "01": "%m", "02": "%d", "15": "%H", "04": "%M", "05": "%S"}
_DURATION = re.compile(r"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+|0)")
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def moment(seconds: float) -> datetime:
    """Return a time given in epoch seconds, cut to whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC)


def _type(_spend: Spend, value: Any) -> str:
    names = {bool: "bool", int: "int", float: "float", str: "string", list: "array", dict: "map"}
    names |= {type(None): "nil", datetime: "time.Time", timedelta: "time.Duration"}
    return names.get(type(value), "func")


def _int(_spend: Spend, value: Any) -> int:
    if not isinstance(value, str):
        return to_int(value)
    if not _INTEGER.fullmatch(value) or wrapped(int(value)) != int(value):
        raise LocatedError(f"invalid operation: int({value})")
    return int(value)


def _float(_spend: Spend, value: Any) -> float:
    if isinstance(value, str):
        if not _FLOAT.fullmatch(value):
            raise LocatedError(f"invalid operation: float({value})")
        return float(value)
    if not is_number(value):
        raise LocatedError(f"invalid operation: float({type_name(value)})")
    return float(value)


def _to_json(_spend: Spend, value: Any) -> str:
    written = json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _from_json(_spend: Spend, value: Any) -> Any:
    def constant(name: str) -> Any:
        raise ValueError(f"invalid character '{name.lstrip('-')[0]}' looking for beginning of value")

    try:
        return json.loads(text(value), parse_int=float, parse_constant=constant)
    except ValueError as error:
        raise LocatedError(str(error)) from None


def _from_base64(_spend: Spend, value: Any) -> str:
    try:
        return base64.b64decode(text(value), validate=True).decode(errors="replace")
    except binascii.Error:
        raise LocatedError("illegal base64 data") from None


def _date(_spend: Spend, value: Any, *layout: Any) -> datetime:
    written = text(value)
    for one in (
        [re.sub("2006|01|02|15|04|05", lambda found: _GO_LAYOUT[found[0]], text(layout[0]))] if layout else _LAYOUTS
    ):
        try:
            return datetime.strptime(written, one).replace(tzinfo=UTC)
        except (ValueError, re.error):
            continue
    try:
        found = datetime.fromisoformat(written)
        if not layout and found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise LocatedError(f"invalid date {written}")


def _duration(_spend: Spend, value: Any) -> timedelta:
    found = _DURATION.fullmatch(text(value))
    if not found:
        raise LocatedError(f'time: invalid duration "{value}"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(found[2]))
    try:
        return timedelta(seconds=-seconds if found[1] == "-" else seconds)
    except OverflowError:
        raise LocatedError(f'time: invalid duration "{value}"') from None


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "type": _type,
    "int": _int,
    "float": _float,
    "string": lambda _spend, value: text_of(value),
    "toJSON": _to_json,
    "fromJSON": _from_json,
    "toBase64": lambda _spend, value: base64.b64encode(text(value).encode()).decode(),
    "fromBase64": _from_base64,
    "date": _date,
    "duration": _duration,
}
