"""Functions of strings."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rochallor_worker.devengine.expressions.gotext import LocatedError
from rochallor_worker.devengine.expressions.values import Spend, text, to_int, unfit_argument

_LARGEST_REPEAT = 1_000_000


def _texts(function: Callable[..., Any], _spend: Spend, *given: Any) -> Any:
    return function(*map(text, given))


def _trim(_spend: Spend, value: Any, *characters: Any) -> str:
    return text(value).strip(*map(text, characters))


def _split(_spend: Spend, value: Any, separator: Any, count: Any = -1, *, after: bool = False) -> list[str]:
    whole, between, most = text(value), text(separator), to_int(count)
    if most == 0:
        return []
    parts = list(whole) if not between else whole.split(between, most - 1 if most > 0 else -1)
    if not between and 0 < most < len(parts):
        parts[most - 1 :] = ["".join(parts[most - 1 :])]
    return [item + between for item in parts[:-1]] + parts[-1:] if after else parts


def _replace(spend: Spend, value: Any, old: Any, new: Any, count: Any = -1) -> str:
    whole, most = text(value), to_int(count)
    found = whole.count(text(old))
    spend(found * len(text(new)))
    return whole.replace(text(old), text(new), most if most >= 0 else -1)


def _repeat(spend: Spend, value: Any, count: Any) -> str:
    whole, times = text(value), to_int(count)
    if times < 0:
        raise LocatedError(f"invalid argument for repeat (expected positive integer, got {times})")
    spend(len(whole) * times if times <= _LARGEST_REPEAT else times)
    return whole * times


def _join(spend: Spend, value: Any, glue: Any = "") -> str:
    if not isinstance(value, list):
        raise unfit_argument("join", value)
    spend(len(value) * len(text(glue)))
    return text(glue).join(map(text, value))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "upper": partial(_texts, str.upper),
    "lower": partial(_texts, str.lower),
    "trim": _trim,
    "trimPrefix": lambda _spend, value, prefix=" ": text(value).removeprefix(text(prefix)),
    "trimSuffix": lambda _spend, value, suffix=" ": text(value).removesuffix(text(suffix)),
    "split": _split,
    "splitAfter": partial(_split, after=True),
    "replace": _replace,
    "repeat": _repeat,
    "join": _join,
    "indexOf": partial(_texts, lambda whole, inner: whole.encode().find(inner.encode())),
    "lastIndexOf": partial(_texts, lambda whole, inner: whole.encode().rfind(inner.encode())),
    "hasPrefix": partial(_texts, str.startswith),
    "hasSuffix": partial(_texts, str.endswith),
}
