"""What operators do with values. Go's `int` is `int` here, `float64` is `float`, and the rest is as in JSON.

Variables have floats only; ints come from literals and functions.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from operator import ge, gt, le, lt
from typing import Any

from rochallor_worker.devengine.expressions.gotext import LocatedError, type_name

Spend = Callable[[int], None]
"""Take from the budget of an evaluation. Raises `LocatedError` when that is used up."""

_INT64 = 1 << 64
_HALF = 1 << 63
_CHARACTERS_PER_UNIT = 16


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float; a boolean is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_int(value: Any) -> bool:
    """Whether a value is an int; a boolean is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def weight(value: Any, most: int) -> int:
    """Return how many values a value holds, to pay for reading it; counting stops at `most`."""
    total, left = 0, [value]
    while left and total <= most:
        item = left.pop()
        total += 1
        if isinstance(item, str):
            total += len(item) // _CHARACTERS_PER_UNIT
        elif isinstance(item, list):
            left += item
        elif isinstance(item, dict):
            left += item.values()
    return total


def wrapped(number: int) -> int:
    """Return an int wrapped to 64 bits."""
    return (number + _HALF) % _INT64 - _HALF


def truth(value: Any) -> bool:
    """Return a boolean. Raises `LocatedError` for anything else."""
    if not isinstance(value, bool):
        raise _no(value, "bool")
    return value


def text(value: Any) -> str:
    """Return a string. Raises `LocatedError` for anything else."""
    if not isinstance(value, str):
        raise _no(value, "string")
    return value


def _no(value: Any, wanted: str) -> LocatedError:
    found = "nil" if value is None else type_name(value)
    return LocatedError(f"interface conversion: interface {{}} is {found}, not {wanted}")


def to_int(value: Any) -> int:
    """Return a number as an int, truncated."""
    if is_number(value) and math.isfinite(value):
        return wrapped(int(value))
    raise LocatedError(f"invalid operation: int({type_name(value)})")


def to_float(value: Any) -> float:
    """Return a number as a float."""
    if is_number(value):
        return float(value)
    raise LocatedError(f"invalid operation: float({type_name(value)})")


def equal(one: Any, other: Any) -> bool:
    """Whether `==` holds: numbers by value, lists by their elements, objects only with the same types inside."""
    if is_number(one) and is_number(other):
        return bool(one == other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return _same(one, other)


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(item, other[key]) for key, item in one.items())
    return bool(one == other)


def _compared(sign: str, compare: Callable[[Any, Any], bool], one: Any, other: Any) -> bool:
    if is_number(one) and is_number(other):
        return compare(one, other)
    for kind in (str, datetime, timedelta):
        if isinstance(one, kind) and isinstance(other, kind):
            return compare(one, other)
    raise _unfit(sign, one, other)


def _unfit(sign: str, one: Any, other: Any) -> LocatedError:
    return LocatedError(f"invalid operation: {type_name(one)} {sign} {type_name(other)}")


def unfit_argument(name: str, value: Any) -> LocatedError:
    """Return the error for a value that the function of this name does not take."""
    return LocatedError(f"invalid argument for {name} (type {type_name(value)})")


def _add(one: Any, other: Any) -> Any:
    if is_number(one) and is_number(other):
        return _number(one + other)
    if isinstance(one, str) and isinstance(other, str):
        return one + other
    if isinstance(one, datetime | timedelta) and isinstance(other, datetime | timedelta):
        return _moved(one, other, 1)
    raise _unfit("+", one, other)


def _subtract(one: Any, other: Any) -> Any:
    if is_number(one) and is_number(other):
        return _number(one - other)
    if isinstance(one, datetime | timedelta) and isinstance(other, datetime | timedelta):
        return _moved(one, other, -1)
    raise _unfit("-", one, other)


def _moved(one: Any, other: Any, direction: int) -> Any:
    """Add or subtract times and durations."""
    try:
        return one + other if direction > 0 else one - other
    except (TypeError, OverflowError):
        raise _unfit("+" if direction > 0 else "-", one, other) from None


def _multiply(one: Any, other: Any) -> Any:
    if is_number(one) and is_number(other):
        return _number(one * other)
    raise _unfit("*", one, other)


def _number(result: float) -> float:
    return wrapped(result) if isinstance(result, int) else result


def _divide(one: Any, other: Any) -> float:
    """Divide as floats; dividing by 0 gives infinity or NaN."""
    if not (is_number(one) and is_number(other)):
        raise _unfit("/", one, other)
    if other:
        return float(one) / float(other)
    if not one or math.isnan(one):
        return math.nan
    return math.copysign(math.inf, one) * math.copysign(1, other)


def _remainder(one: Any, other: Any) -> int:
    if not (is_int(one) and is_int(other)):
        raise _unfit("%", one, other)
    if not other:
        raise LocatedError("runtime error: integer divide by zero")
    rest: int = abs(one) % abs(other)
    return -rest if one < 0 else rest


def _power(one: Any, other: Any) -> float:
    base, exponent = to_float(one), to_float(other)
    try:
        result = math.pow(base, exponent)
    except OverflowError:
        odd = exponent.is_integer() and exponent % 2 == 1
        result = -math.inf if base < 0 and odd else math.inf
    except ValueError:  # 0 to a negative power, or a root of a negative number
        result = math.inf if base == 0 else math.nan
    return result


def negative(value: Any) -> Any:
    """Return `-value`."""
    if not is_number(value):
        raise LocatedError(f"invalid operation: - {type_name(value)}")
    return _number(-value)


def contains(whole: Any, item: Any) -> bool:
    """Whether `item in whole` holds: it is an element of the list, or a key of the object."""
    match whole:
        case None:
            return False
        case list():
            return any(equal(element, item) for element in whole)
        case dict() if isinstance(item, str):
            return item in whole
        case dict():
            raise LocatedError(_wrong_key(item))
    raise LocatedError(f'operator "in" not defined on {type_name(whole)}')


def member(of: Any, key: Any) -> Any:
    """Return `of[key]`: nil if an object lacks the field."""
    match of:
        case dict() if isinstance(key, str):
            return of.get(key)
        case dict():
            raise LocatedError(_wrong_key(key))
        case list() | str():
            items = of if isinstance(of, list) else of.encode()
            index = to_int(key)
            place = index + len(items) if index < 0 else index
            if not 0 <= place < len(items):
                raise LocatedError(f"index out of range: {index} (array length is {len(items)})")
            return items[place]
    raise LocatedError(f"cannot fetch {key} from {type_name(of)}")


def _wrong_key(key: Any) -> str:
    return f"reflect.Value.MapIndex: value of type {type_name(key)} is not assignable to type string"


def part(of: Any, start: Any, stop: Any) -> Any:
    """Return `of[start:stop]`; a string is sliced by bytes."""
    if not isinstance(of, list | str):
        raise LocatedError(f"cannot slice {type_name(of)}")
    items = of if isinstance(of, list) else of.encode()
    ends = (0 if start is None else to_int(start), len(items) if stop is None else to_int(stop))
    first, last = (max(end + len(items), 0) if end < 0 else min(end, len(items)) for end in ends)
    found = items[first:last]
    return found if isinstance(found, list) else found.decode(errors="replace")


def _holds(test: Callable[[str, str], bool], one: Any, other: Any) -> bool:
    return one is not None and other is not None and test(text(one), text(other))


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": equal,
    "!=": lambda one, other: not equal(one, other),
    "<": partial(_compared, "<", lt),
    "<=": partial(_compared, "<=", le),
    ">": partial(_compared, ">", gt),
    ">=": partial(_compared, ">=", ge),
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "%": _remainder,
    "**": _power,
    "^": _power,
    "in": lambda item, whole: contains(whole, item),
    "contains": partial(_holds, lambda whole, inner: inner in whole),
    "startsWith": partial(_holds, str.startswith),
    "endsWith": partial(_holds, str.endswith),
}
"""Operators that always evaluate both operands, except `matches` and `..`."""
