"""How Go writes values: in messages, as text, and as JSON; and the errors of an expression."""

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rochallor_worker.devengine.gojson import as_json_number


class ExpressionError(Exception):
    """An expression that cannot be evaluated. Its text is the engine's, with the expression in it."""


class LocatedError(Exception):
    """A problem, and its character in the rewritten source, from 0. `evaluate` turns it into the engine's text."""

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


class UnsupportedValueError(Exception):
    """A result has no JSON. Its text is Go's."""


_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f"}
_UNUSUAL = re.compile(r'[\\"\x00-\x1f\x7f]')
_LARGE, _SMALL = 1e21, 1e-4
"""A float from `_LARGE` up or below `_SMALL` is written with an exponent."""


def quoted(text: str) -> str:
    """Return a text as `%q` writes it."""
    escaped = _UNUSUAL.sub(lambda found: _ESCAPES.get(found[0], f"\\x{ord(found[0]):02x}"), text)
    return f'"{escaped}"'


_TYPE_NAMES: dict[type, str] = {
    type(None): "<nil>",
    bool: "bool",
    int: "int",
    float: "float64",
    str: "string",
    list: "[]interface {}",
    dict: "map[string]interface {}",
    datetime: "time.Time",
    timedelta: "time.Duration",
}


def type_name(value: Any) -> str:
    """Return what `%T` writes: the type of a value."""
    return _TYPE_NAMES.get(type(value), "func(...interface {}) (interface {}, error)")


def text_of(value: Any) -> str:
    """Return what `%v` writes."""
    write = _WRITTEN.get(type(value))
    return write(value) if write else str(value)


def _list(items: list[Any]) -> str:
    return f"[{' '.join(map(text_of, items))}]"


def _map(fields: dict[str, Any]) -> str:
    return f"map[{' '.join(f'{name}:{text_of(fields[name])}' for name in sorted(fields))}]"


def _float(number: float) -> str:
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    text = repr(number)
    if number == 0 or _SMALL <= abs(number) < _LARGE:
        return format(Decimal(text), "f").removesuffix(".0")
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent):+03d}"


def _duration(value: timedelta) -> str:
    """Return a duration as Go writes it: 1h30m0s."""
    seconds = value.total_seconds()
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds < 1:
        return f"{sign}{_float(seconds * 1000)}ms" if seconds else "0s"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{_float(rest)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


_WRITTEN: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "<nil>",
    bool: lambda value: "true" if value else "false",
    float: _float,
    list: _list,
    dict: _map,
    datetime: lambda value: f"{value:%Y-%m-%d %H:%M:%S} +0000 UTC",
    timedelta: _duration,
}
"""The types that Go writes differently from Python."""


# as JSON

_MOST_VALUES = 2_000_000
"""How many values a result may hold: a few characters can ask for more than fits in memory."""


def plain(value: Any) -> Any:
    """Return a result as a JSON value. Raises `UnsupportedValueError` and `RecursionError`."""
    return _Result().plain(value)


class _Result:
    def __init__(self) -> None:
        self._left = _MOST_VALUES

    def plain(self, value: Any) -> Any:
        self._left -= 1 + (len(value) // 16 if isinstance(value, str) else 0)
        if self._left < 0:
            raise UnsupportedValueError("json: value is too large")
        match value:
            case None | bool() | int() | str():
                return value
            case float() if math.isfinite(value):
                return as_json_number(value)
            case float():
                raise UnsupportedValueError(f"json: unsupported value: {text_of(value)}")
            case list():
                return [self.plain(item) for item in value]
            case dict():
                return {name: self.plain(item) for name, item in value.items()}
            case datetime():
                return value.isoformat().replace("+00:00", "Z")
            case timedelta():
                return round(value.total_seconds() * 1e9)
        raise UnsupportedValueError(f"json: unsupported type: {type_name(value)}")
