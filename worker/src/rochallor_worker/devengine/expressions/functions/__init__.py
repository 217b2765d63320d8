"""The functions of the language, by name, and how many arguments they take.

Each function gets `spend` first, to pay for what it makes beyond the size of its arguments.
"""

from collections.abc import Callable
from typing import Any

from rochallor_worker.devengine.expressions.functions import collections, conversions, numbers, strings
from rochallor_worker.devengine.expressions.functions.predicates import WITH_PREDICATE

__all__ = ["ANY_NUMBER", "FUNCTIONS", "FUNCTION_NAMES", "PREDICATES", "SIGNATURES", "WITH_PREDICATE"]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **numbers.FUNCTIONS,
    **strings.FUNCTIONS,
    **collections.FUNCTIONS,
    **conversions.FUNCTIONS,
}
"""Functions of values. `now` is missing: it needs the time, which the evaluator has."""

PREDICATES = {
    **dict.fromkeys(("all", "none", "any", "one", "filter", "map"), (2, 2)),
    **dict.fromkeys(("find", "findIndex", "findLast", "findLastIndex", "groupBy"), (2, 2)),
    **dict.fromkeys(("count", "sum"), (1, 2)),
    **dict.fromkeys(("sortBy", "reduce"), (2, 3)),
}
"""Those whose second argument is evaluated for each element of the first."""

ANY_NUMBER = 1 << 30

SIGNATURES = {
    **dict.fromkeys(("len", "type", "abs", "ceil", "floor", "round", "int", "float", "string"), (1, 1)),
    **dict.fromkeys(("upper", "lower", "first", "last", "keys", "values", "toPairs", "fromPairs"), (1, 1)),
    **dict.fromkeys(("reverse", "uniq", "flatten", "bitnot"), (1, 1)),
    **dict.fromkeys(("toJSON", "fromJSON", "toBase64", "fromBase64", "duration"), (1, 1)),
    **dict.fromkeys(("trim", "trimPrefix", "trimSuffix", "join", "sort"), (1, 2)),
    **dict.fromkeys(("indexOf", "lastIndexOf", "hasPrefix", "hasSuffix", "repeat", "get", "take"), (2, 2)),
    **dict.fromkeys(("bitand", "bitor", "bitxor", "bitnand", "bitshl", "bitshr", "bitushr"), (2, 2)),
    **dict.fromkeys(("split", "splitAfter"), (2, 3)),
    "replace": (3, 4),
    **dict.fromkeys(("max", "min", "mean", "median", "concat"), (1, ANY_NUMBER)),
    "now": (0, 0),
    "date": (1, 2),
}
"""All others: the least and the most arguments."""

FUNCTION_NAMES = frozenset(PREDICATES) | frozenset(SIGNATURES)
