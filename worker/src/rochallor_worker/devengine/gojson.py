"""JSON as the engine reads it, with its error messages (contract: `workflow.md`, `cases`).

The engine is written in Go, whose decoder ignores the case of keys, lets the last of two equal keys win, reads null as
"not given" and ignores text after the value. msgspec decodes ordinary bodies; what it refuses is decoded here, slower.
"""

import json
import math
from decimal import Decimal
from types import NoneType
from typing import Any, ClassVar, Protocol, TypeVar, get_args, get_origin

import msgspec


class Described(Protocol):
    """A struct with its name in Go; if `strict`, unknown keys are an error."""

    go_name: ClassVar[str]
    strict: ClassVar[bool]


T = TypeVar("T")

_SPACE = " \t\r\n"
_UNEXPECTED = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Invalid control character at": "in string literal",
}
"""Message of Python's decoder → message of Go's."""
_UNFINISHED = ("Unterminated string", "Invalid \\uXXXX escape")


class GoError(ValueError):
    """Go's message about a body."""


class _Real(float):
    """A number with a point or an exponent, with its text."""

    text: str

    def __new__(cls, text: str) -> "_Real":
        number = super().__new__(cls, text)
        number.text = text
        return number


def decode(body: bytes, kind: type[T]) -> T:
    """Read a body as `kind`: a described struct or `dict[str, Any]`. Raises `GoError`."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    value = _parse(body.decode(errors="replace").lstrip(_SPACE))
    try:
        whole: T = _whole(kind, value)
    except RecursionError:
        raise GoError("exceeded max depth") from None
    return whole


def _parse(text: str) -> Any:
    """Return the first JSON value of a text, its numbers as `int` or `_Real`."""
    if not text:
        raise GoError("EOF")
    try:
        return _DECODER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip(_SPACE)) or error.msg.startswith(_UNFINISHED):
            raise GoError("unexpected EOF") from None
        where = _UNEXPECTED.get(error.msg, "looking for beginning of value")
        raise GoError(f"invalid character {text[error.pos]!r} {where}") from None
    except RecursionError:
        raise GoError("exceeded max depth") from None


def _constant(name: str) -> Any:
    raise GoError(f"invalid character {name.lstrip('-')[0]!r} looking for beginning of value")


def _integer(text: str) -> int | _Real:
    return int(text) if len(text) < 1000 else _Real(text)


_DECODER = json.JSONDecoder(parse_float=_Real, parse_int=_integer, parse_constant=_constant, strict=True)


def _whole(kind: Any, value: Any) -> Any:
    described = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    if value is None:
        return kind()
    if not isinstance(value, dict):
        name = kind.go_name if described else "map[string]interface {}"
        raise GoError(f"json: cannot unmarshal {_kind(value)} into Go value of type {name}")
    return _struct(kind, value, kind, ()) if described else _any(value, "Go value")


def _struct(kind: type[Any], value: dict[str, Any], outer: type[Any], path: tuple[str, ...]) -> Any:
    """Return an object as a struct; `path` leads to it from the body, which is of type `outer`."""
    fields = {field.encode_name.lower(): field for field in msgspec.structs.fields(kind)}
    found: dict[str, Any] = {}
    for key, item in value.items():
        field = fields.get(key.lower())
        if field is None:
            if outer.strict:
                raise GoError(f'json: unknown field "{key}"')
        elif item is not None:
            inner = (*path, field.encode_name)
            into = f"Go struct field {kind.go_name.rpartition('.')[2]}.{'.'.join(inner)}"
            found[field.name] = _field(field.type, item, into, outer, inner)
    return kind(**found)


def _field(kind: Any, value: Any, into: str, outer: type[Any], path: tuple[str, ...]) -> Any:
    kind = next((option for option in get_args(kind) if option is not NoneType), kind) if _optional(kind) else kind
    if kind is Any:
        return _any(value, into)
    if kind is int and isinstance(value, _Real):
        raise GoError(f"json: cannot unmarshal number {value.text} into {into} of type int")
    origin = get_origin(kind) or kind
    expected = dict if issubclass(origin, msgspec.Struct) else origin
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise GoError(f"json: cannot unmarshal {_kind(value)} into {into} of type {_type(kind, outer)}")
    if expected is str:
        return _any(value, into)
    if origin is list:
        return [_field(get_args(kind)[0], item, into, outer, path) for item in value if item is not None]
    if origin is dict:
        items = ((_any(name, into), item) for name, item in value.items())
        return {
            name: item if item is None else _field(get_args(kind)[1], item, into, outer, path) for name, item in items
        }
    return _struct(kind, value, outer, path) if origin is not expected else value


def _any(value: Any, into: str) -> Any:
    """Return any JSON value, with U+FFFD for lone surrogates. Raises `GoError` for a number too large for a float."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_any(item, into) for item in value]
        case dict():
            return {_any(name, into): _any(item, into) for name, item in value.items()}
        case _Real() if not math.isfinite(value):
            raise GoError(f"json: cannot unmarshal number {value.text} into {into} of type float64")
        case _Real():
            return float(value)
    return value


def _optional(kind: Any) -> bool:
    return NoneType in get_args(kind)


def _kind(value: Any) -> str:
    """Return Go's name for the kind of a JSON value."""
    names = {bool: "bool", str: "string", int: "number", float: "number", list: "array", dict: "object"}
    return next(name for kind, name in names.items() if isinstance(value, kind))


def _type(kind: Any, outer: type[Any]) -> str:
    """Return Go's name for the type of a field."""
    plain = {str: "string", int: "int", bool: "bool"}
    if kind in plain:
        return plain[kind]
    if kind is Any:
        return "json.RawMessage" if outer.strict else "interface {}"
    if get_origin(kind) is list:
        return f"[]{_type(get_args(kind)[0], outer)}"
    if get_origin(kind) is dict:
        return f"map[string]{_type(get_args(kind)[1], outer)}"
    name: str = kind.go_name
    return name


# numbers, which the engine keeps as float64 (engine.md, "REST")


def as_json_number(number: float) -> int | float:
    """Return a finite number as JSON writes it: whole ones without point or exponent.

    Raises `OverflowError` for an int too large for a float.
    """
    number = float(number)
    if not number.is_integer():
        return number
    return int(number) if abs(number) < 2**53 else int(Decimal(repr(number)))  # the shortest digits, then zeros


def through_float64(value: Any) -> Any:
    """Return a JSON value with all its numbers as the engine keeps them. Raises `OverflowError`."""
    if isinstance(value, str | bool | None):
        return value
    if isinstance(value, int | float):
        return as_json_number(value)
    if isinstance(value, list):
        return [through_float64(item) for item in value]
    return {name: through_float64(item) for name, item in value.items()}
