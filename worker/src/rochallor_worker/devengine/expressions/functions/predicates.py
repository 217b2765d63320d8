"""Functions that evaluate a predicate for each element of a list."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from rochallor_worker.devengine.expressions.functions.collections import in_order
from rochallor_worker.devengine.expressions.gotext import LocatedError, text_of, type_name
from rochallor_worker.devengine.expressions.values import OPERATORS, truth


def elements(value: Any) -> list[Any]:
    """Return the elements that a predicate is evaluated for."""
    if not isinstance(value, list):
        what = "zero Value" if value is None else f"{type_name(value)} Value"
        raise LocatedError(f"reflect: call of reflect.Value.Len on {what}")
    return value


def _all(_elements: list[Any], results: Iterator[Any]) -> bool:
    return all(map(truth, results))


def _any(_elements: list[Any], results: Iterator[Any]) -> bool:
    return any(map(truth, results))


def _chosen(values: list[Any], results: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    """Yield index and value of the elements for which a predicate holds."""
    pairs = zip(values, results, strict=True)
    return ((index, value) for index, (value, result) in enumerate(pairs) if truth(result))


def _found(values: list[Any], results: Iterator[Any], *, place: int, last: bool) -> Any:
    missing = None if place else -1
    chosen = [pair[place] for pair in _chosen(values, results)] if last else []
    if last:
        return chosen[-1] if chosen else missing
    return next((pair[place] for pair in _chosen(values, results)), missing)


def _sum(_elements: list[Any], results: Iterator[Any]) -> Any:
    total: Any = 0
    for result in results:
        total = OPERATORS["+"](total, result)
    return total


def _group_by(values: list[Any], results: Iterator[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for value, result in zip(values, results, strict=True):
        groups.setdefault(text_of(result), []).append(value)
    return groups


def _sort_by(values: list[Any], results: Iterator[Any], order: Any = "asc") -> list[Any]:
    return in_order(values, list(results), order)


def _reduce(values: list[Any], results: Iterator[Any], *initial: Any) -> Any:
    """Return the last result: this language has no name for the ones before it."""
    if not values and not initial:
        raise LocatedError("reduce of empty array with no initial value")
    return [*(initial or values[:1]), *results][-1]


WITH_PREDICATE: dict[str, Callable[..., Any]] = {
    "all": _all,
    "none": lambda values, results: not _any(values, results),
    "any": _any,
    "one": lambda values, results: sum(1 for _ in _chosen(values, results)) == 1,
    "filter": lambda values, results: [value for _, value in _chosen(values, results)],
    "map": lambda _values, results: list(results),
    "count": lambda values, results: sum(1 for _ in _chosen(values, results)),
    "sum": _sum,
    "find": partial(_found, place=1, last=False),
    "findIndex": partial(_found, place=0, last=False),
    "findLast": partial(_found, place=1, last=True),
    "findLastIndex": partial(_found, place=0, last=True),
    "groupBy": _group_by,
    "sortBy": _sort_by,
    "reduce": _reduce,
}
"""Functions of the elements of a list and of the predicate's result for each."""
