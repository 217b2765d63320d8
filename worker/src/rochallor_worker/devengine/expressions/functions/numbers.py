"""Functions of numbers: rounding, extremes and means, bits."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

from rochallor_worker.devengine.expressions.gotext import LocatedError
from rochallor_worker.devengine.expressions.values import Spend, is_number, negative, to_int, unfit_argument, wrapped

_WORD_BITS = 64


def _rounded(name: str, to_whole: Callable[[float], float], _spend: Spend, value: Any) -> Any:
    if not is_number(value):
        raise unfit_argument(name, value)
    return to_whole(float(value)) if math.isfinite(value) else float(value)


def _half_away(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value)


def _abs(_spend: Spend, value: Any) -> Any:
    if not is_number(value):
        raise unfit_argument("abs", value)
    return negative(value) if value < 0 else value


def _numbers(name: str, given: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the arguments, which must be numbers or lists of them, as one flat sequence of numbers."""
    for value in given:
        if isinstance(value, list):
            yield from _numbers(name, tuple(value))
        elif is_number(value):
            yield value
        else:
            raise unfit_argument(name, value)


def _extreme(name: str, _spend: Spend, *given: Any) -> Any:
    choose = max if name == "max" else min
    return choose(_numbers(name, given), default=None)


def _mean(_spend: Spend, *given: Any) -> float:
    numbers = [float(number) for number in _numbers("mean", given)]
    return sum(numbers) / len(numbers) if numbers else 0.0


def _median(_spend: Spend, *given: Any) -> float:
    numbers = [float(number) for number in _numbers("median", given)]
    return float(median(numbers)) if numbers else 0.0


def _bits(name: str, calculate: Callable[[int, int], int], _spend: Spend, one: Any, other: Any) -> int:
    first, second = to_int(one), to_int(other)
    if "sh" in name and second < 0:
        raise LocatedError(f"invalid operation: negative shift count {second} (type int)")
    return wrapped(calculate(first, second))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": _abs,
    "ceil": partial(_rounded, "ceil", lambda value: float(math.ceil(value))),
    "floor": partial(_rounded, "floor", lambda value: float(math.floor(value))),
    "round": partial(_rounded, "round", _half_away),
    "max": partial(_extreme, "max"),
    "min": partial(_extreme, "min"),
    "mean": _mean,
    "median": _median,
    "bitand": partial(_bits, "bitand", lambda one, other: one & other),
    "bitor": partial(_bits, "bitor", lambda one, other: one | other),
    "bitxor": partial(_bits, "bitxor", lambda one, other: one ^ other),
    "bitnand": partial(_bits, "bitnand", lambda one, other: one & ~other),
    "bitshl": partial(_bits, "bitshl", lambda one, other: one << other if other < _WORD_BITS else 0),
    "bitshr": partial(_bits, "bitshr", lambda one, other: one >> min(other, _WORD_BITS)),
    "bitushr": partial(_bits, "bitushr", lambda one, other: (one % (1 << _WORD_BITS)) >> min(other, _WORD_BITS)),
    "bitnot": lambda _spend, value: ~to_int(value),
}
