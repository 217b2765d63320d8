"""JSON values ↔ `google.protobuf.Struct`, by hand: the library's own functions take several times as long.

A Struct's only number type is the double. Whole ones become ints again, since REST writes them without a point or an
exponent. A peer with protobuf's usual limit of 100 levels reads values of up to 32 levels.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value


def to_struct(values: Mapping[str, Any]) -> Struct:
    """Return `values` as a Struct; keys and sequences are treated as by `json.dumps`.

    Raises `TypeError` or `ValueError` for what JSON cannot express (NaN, a set, …), `OverflowError` for an int beyond
    the range of doubles and `RecursionError` for a loop.
    """
    struct = Struct()
    _fill(struct, values)
    return struct


def from_struct(struct: Struct) -> dict[str, Any]:
    """Return a Struct's values."""
    return {name: from_value(value) for name, value in struct.fields.items()}


def from_value(value: Value) -> Any:
    """Return one value of a Struct."""
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return _whole(value.number_value)
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [from_value(item) for item in value.list_value.values]
        case _:
            return None


def _fill(struct: Struct, values: Mapping[Any, Any]) -> None:
    fields = struct.fields
    for key, item in values.items():
        _set(fields[key if isinstance(key, str) else _key(key)], item)
    if not values:
        struct.SetInParent()  # an empty object, not an absent one


def _set(target: Value, value: Any) -> None:
    if isinstance(value, str):
        target.string_value = value
    elif value is None:
        target.null_value = 0  # type: ignore[assignment]
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = _number(value)
    elif isinstance(value, dict):
        _fill(target.struct_value, value)
    elif isinstance(value, list | tuple):
        items = target.list_value.values
        for item in value:
            _set(items.add(), item)
        if not value:
            target.list_value.SetInParent()
    else:
        raise TypeError(f"{type(value).__name__} is not a JSON type")


def _whole(number: float) -> float:
    """Return a whole number as the int that REST returns: the shortest digits, then zeros."""
    if not number.is_integer():
        return number
    return int(number) if abs(number) < 2**53 else int(Decimal(repr(number)))


def _number(value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a JSON number")
    return number


def _key(key: Any) -> str:
    match key:
        case True | False:
            return "true" if key else "false"
        case None:
            return "null"
        case int():
            return int.__repr__(key)
        case float():
            return float.__repr__(_number(key))
    raise TypeError(f"a key must be a string, is {type(key).__name__}")
