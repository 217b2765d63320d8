"""Functions of lists and objects; those that take a predicate are in `predicates`."""

from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

from rochallor_worker.devengine.expressions.gotext import LocatedError, text_of, type_name
from rochallor_worker.devengine.expressions.values import OPERATORS, Spend, equal, member, part, text, unfit_argument


def _len(_spend: Spend, value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise unfit_argument("len", value)
    return len(value)


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise LocatedError(f"cannot {name} {type_name(value)}")
    return value


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise LocatedError(f"cannot {name} {type_name(value)}")
    return value


def _get(_spend: Spend, of: Any, key: Any) -> Any:
    try:
        return member(of, key)
    except LocatedError:
        return None


def _take(_spend: Spend, value: Any, count: Any) -> list[Any]:
    found: list[Any] = part(_list("take from", value), 0, count)
    return found


def _from_pairs(_spend: Spend, value: Any) -> dict[str, Any]:
    found = {}
    for pair in _list("transform from pairs", value):
        if not isinstance(pair, list) or len(pair) != 2:
            raise LocatedError(f"invalid pair {text_of(pair)}")
        found[text(pair[0])] = pair[1]
    return found


def _uniq(spend: Spend, value: Any) -> list[Any]:
    found: list[Any] = []
    for item in _list("uniq", value):
        spend(len(found))
        if not any(equal(item, other) for other in found):
            found.append(item)
    return found


def _concat(_spend: Spend, *given: Any) -> list[Any]:
    return [item for value in given for item in _list("concat", value)]


def _flatten(spend: Spend, value: Any) -> list[Any]:
    found: list[Any] = []
    for item in _list("flatten", value):
        found += _flatten(spend, item) if isinstance(item, list) else [item]
    spend(len(found))
    return found


def _sort(spend: Spend, value: Any, order: Any = "asc") -> list[Any]:
    found = _list("sort", value)
    spend(len(found) * len(found).bit_length())
    return in_order(found, found, order)


def in_order(values: list[Any], keys: list[Any], order: Any) -> list[Any]:
    """Return values sorted by their keys, "asc" or "desc"."""
    if order not in ("asc", "desc"):
        raise LocatedError(f"invalid order {text_of(order)}, expected asc or desc")
    ordered = cmp_to_key(_order)
    pairs = sorted(zip(keys, values, strict=True), key=lambda pair: ordered(pair[0]), reverse=order == "desc")
    return [value for _, value in pairs]


def _order(one: Any, other: Any) -> int:
    return -1 if OPERATORS["<"](one, other) else int(OPERATORS[">"](one, other))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "len": _len,
    "first": lambda spend, value: _get(spend, value, 0),
    "last": lambda spend, value: _get(spend, value, -1),
    "get": _get,
    "take": _take,
    "keys": lambda _spend, value: sorted(_object("get keys from", value)),
    "values": lambda _spend, value: [item for _, item in sorted(_object("get values from", value).items())],
    "toPairs": lambda _spend, value: [
        [key, item] for key, item in sorted(_object("transform to pairs", value).items())
    ],
    "fromPairs": _from_pairs,
    "reverse": lambda _spend, value: _list("reverse", value)[::-1],
    "uniq": _uniq,
    "concat": _concat,
    "flatten": _flatten,
    "sort": _sort,
}
