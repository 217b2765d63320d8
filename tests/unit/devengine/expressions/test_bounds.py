"""Any expression ends soon, with a value or an `ExpressionError`."""

import json
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rochallor_worker.devengine.expressions import ExpressionError, UnsupportedValueError, evaluate, plain
from rochallor_worker.devengine.expressions.functions import FUNCTION_NAMES
from rochallor_worker.devengine.expressions.gotext import LocatedError
from rochallor_worker.devengine.expressions.regexp import search

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = ["n", "l", "o", "s"]
PIECES = [
    *("+", "-", "*", "/", "%", "**", "^", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "!", "not", "and", "or"),
    *("in", "contains", "startsWith", "matches", "?", ":", "??", "?.", ".", "..", "|", ";", ",", "(", ")", "[", "]"),
    *("{", "}", "${", "#", "::", "=", "let", "if", "else", "/*", "//", "'", '"', "`", "\\", "\n", " "),
    *("1", "0", "-1", "2.5", ".5", "1e9", "0x1F", "1_0", "9223372036854775807", "true", "nil", '"a"', "'a+'", '"("'),
    *("#.x", "# > 1", "n.x", "l[0]", "o?.x", "l[1:]", "\0", "é", "😀"),
    *NAMES,
    *sorted(FUNCTION_NAMES),
    *(f"{name}(" for name in sorted(FUNCTION_NAMES)),
]
SOURCES = st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join)


def result_of(expression: str, variables: dict[str, Any]) -> Any:
    """Return the value, or the error, of an expression."""
    try:
        return plain(evaluate(expression, variables, 0.0))
    except (ExpressionError, UnsupportedValueError) as error:
        return error


@given(SOURCES, st.fixed_dictionaries(dict.fromkeys(NAMES, JSON)))
@example("fromJSON('1e999')", {})
@example("int(1e400)", {})
@example("date('0001-01-01T00:00:00+23:59')", {})
@example("date('9999-12-31') + duration('2562047h')", {})
@example("bitshl(1, 9223372036854775807)", {})
@example("take(1..3, -9223372036854775807)", {})
@example("'\\ud800'", {})
@example("sort([now(), 1])", {})
@example("string(0 / 0) + string(-1 / 0)", {})
@example("date('1', '(')", {})
@example("{1: 1}[1]", {})
def test_an_expression_has_a_value_or_an_error(expression: str, variables: dict[str, Any]) -> None:
    found = result_of(expression, variables)
    if not isinstance(found, Exception):
        json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "expression",
    [
        "all(1..1000000, all(1..1000000, true))",
        "map(1..1000, map(1..1000, map(1..1000, #)))",
        "1..9223372036854775807",
        "repeat(repeat('a', 1000000), 1000000)",
        "replace(repeat('a', 1000000), 'a', repeat('b', 1000000))",
        "join(map(1..100000, ''), repeat('a', 100000))",
        "len(string(map(1..100000, big)))",
        "map(1..100000, big)",
        "filter(1..100000, big == big)",
        "uniq(1..100000)",
        "sort(map(1..100000, -#))",
        "'" + "a" * 40 + "!' matches '^(a+)+$'",
        "repeat('a', 100000) matches '(a*)*b'",
        "'a' matches '((a{1,1000}){1,1000}){1,1000}'",
        "flatten(map(1..1000, map(1..1000, #)))",
        "contains(" + " " * 100_000,
        "contains(" * 100_000,
        "'" * 100_000,
        "${" * 100_000,
        "`" * 99_999,
    ],
)
def test_an_evaluation_that_would_take_forever_fails(expression: str) -> None:
    begun = time.process_time()
    result_of(expression, {"big": ["x" * 16] * 10_000})
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    "expression",
    [
        "(" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        "!" * 100_000 + "b",
        "n" + " + 1" * 100_000,
        "b" + " ? b" * 100_000,
        "o" + ".x" * 100_000,
        "if b { 1 } else " * 100_000 + "{ 2 }",
        "'a' matches '" + "(" * 100_000 + "'",
    ],
)
def test_deep_nesting_is_an_error(expression: str) -> None:
    assert isinstance(result_of(expression, {"n": 1, "b": True, "o": {}}), ExpressionError)


def test_a_deep_variable_has_a_value_or_an_error() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for expression in ("d", "d == d", "string(d)", "toJSON(d)", "flatten(d)", "d[0]"):
        assert isinstance(result_of(expression, {"d": deep}), ExpressionError)


REGEXPS = st.recursive(
    st.sampled_from(["a", "b", ".", r"\d", r"\W", "[ab]", "[^a]", "[a-c1]", "^", "$", r"\b", "", r"\.", "é"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join).map("({})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,}", "*?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@given(REGEXPS, st.text("ab1. é", max_size=8))
@example("(?i)ABC", "xabcx")
@example("[[:alpha:]]+", "1a")
@example("[]a]", "]")
def test_a_pattern_matches_what_pythons_does(pattern: str, text: str) -> None:
    known = re.search(pattern.replace("[:alpha:]", "a-zA-Z").replace("$", r"\Z"), text, re.ASCII)
    assert search(pattern, text, lambda _: None) == bool(known)


@pytest.mark.parametrize("pattern", ["(", ")", "a)", "[a", "*", "a{3,2}", "a{1001}", r"\q", "\\", "(?=a)", "[b-a]"])
def test_an_invalid_pattern(pattern: str) -> None:
    with pytest.raises(LocatedError, match="error parsing regexp"):
        search(pattern, "a", lambda _: None)
