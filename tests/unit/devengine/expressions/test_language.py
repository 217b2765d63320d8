"""The expression language beyond the recorded expressions (tests/contract: `expressions`, `expressions-wrong`)."""

from typing import Any

import pytest

from rochallor_worker.devengine.expressions import ExpressionError, UnsupportedValueError, evaluate, plain
from rochallor_worker.devengine.expressions.gotext import quoted

VARIABLES: dict[str, Any] = {
    "n": 7,
    "f": 2.5,
    "s": "abc",
    "b": True,
    "nul": None,
    "l": [1, 2, 3],
    "o": {"x": 1, "in": 2, "k": {"z": [10]}},
    "people": [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 20}],
    "max": 5,
    "a-b": 1,
}
NOW = 1_700_000_000.7


def value(expression: str) -> Any:
    return plain(evaluate(expression, VARIABLES, NOW))


def refusal(expression: str) -> str:
    """Return the engine's error for an expression, without the mark."""
    with pytest.raises(ExpressionError) as refused:
        evaluate(expression, VARIABLES, NOW)
    return str(refused.value).split("\n")[0]


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        # literals
        ("0b101 + 0o17", 20),
        ("1e3", 1000),
        ("'tab\\t' == \"tab\t\"", True),
        ('"\\u00e9\\x41\\101\\U0001F600"', "éAA😀"),
        ("`a``b`", "a`b"),
        ("[1, 2,]", [1, 2]),
        ("{a: 1, 'b': 2, 3: 4,}", {"a": 1, "b": 2, "3": 4}),
        ("{(s): 1}", {"abc": 1}),
        ("3..1", []),
        ("1 /* one */ + 2 // two", 3),
        # precedence
        ("1 + 2 * 3 ** 2", 19),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("not b or b", True),
        ("1 < n < 9", True),
        ("1 < n < 5", False),
        ("n in 1..9", True),
        ("n + 1 not in [8, 9]", False),
        ("not (n in [7])", False),
        ("b ? 1 : b ? 2 : 3", 1),
        ("nul ?? n", 7),
        ("if n > 5 { 'big' } else if b { 'b' } else { 'small' }", "big"),
        ("1; 2; n", 7),
        # numbers
        ("7 % 4 * -1", -3),
        ("-7 % 4", -3),
        ("int(n) % 4", 3),
        ("9223372036854775807 + 1", -9223372036854775808),
        ("6 / 2", 3),
        ("n == 7 && n == 7.0", True),
        ('n == "7"', False),
        ("2 ** -1", 0.5),
        ("9223372036854775807", 9223372036854775807),
        ("1e300 * 10", int("1" + "0" * 301)),
        # strings
        ('s + "d"', "abcd"),
        ("repeat('x', 2)", "xx"),
        ("s[1:]", "bc"),
        ("s[-1:]", "c"),
        ("s[0]", 97),
        ('"ü"[0:1]', "�"),
        ("nul contains 'a'", False),
        ("s not matches 'z'", True),
        ("trimPrefix('xab', 'x') + trimSuffix('ab ', ' ')", "abab"),
        ("split('a,b,c', ',', 2)", ["a", "b,c"]),
        ("splitAfter('a,b', ',')", ["a,", "b"]),
        ("split('abc', '')", ["a", "b", "c"]),
        ("replace('aaa', 'a', 'b', 2)", "bba"),
        ("lastIndexOf('abcb', 'b')", 3),
        ("hasPrefix(s, 'a') && hasSuffix(s, 'c')", True),
        ("string(1.0e21) + string(0.00001) + string([1, nil, true, {a: 1}])", "1e+211e-05[1 <nil> true map[a:1]]"),
        ("string(123456789012345680000.0)", "123456789012345680000"),
        ("fromBase64(toBase64(s))", "abc"),
        ('fromJSON(`{"a": [1]}`).a[0] + 1', 2),
        ("toJSON({a: [1]})", '{\n  "a": [\n    1\n  ]\n}'),
        # lists and objects
        ("o.in", 2),
        ("o?.nope?.deeper.still", None),
        ("l?.[0]", 1),
        ("l[:2]", [1, 2]),
        ("l[-2:]", [2, 3]),
        ("o.k == {z: [10.0]}", True),
        ("o.k == {z: [10]}", False),  # objects are equal only with the same types inside
        ("o.k.z == [10]", True),
        ("keys(o)", ["in", "k", "x"]),
        ("toPairs({a: 1})", [["a", 1]]),
        ("fromPairs([['a', 1]])", {"a": 1}),
        ("concat([1], l)", [1, 1, 2, 3]),
        ("flatten([1, [2, [3]]])", [1, 2, 3]),
        ("reverse(l)", [3, 2, 1]),
        ("take(l, 2)", [1, 2]),
        ("sort(['b', 'a'], 'desc')", ["b", "a"]),
        ("get(o, 'nope')", None),
        ("first([])", None),
        ("median([1, 2, 3, 4])", 2.5),
        ("min(3, [1, 2])", 1),
        ("bitand(6, 3) + bitshl(1, 3) + bitnot(0)", 9),
        # predicates
        ("people | filter(.age > 30) | map(.name)", ["Ada"]),
        ("people | count(.age > 30)", 1),
        ("find(people, .name == 'Bob').age", 20),
        ("findIndex(people, .name == 'Bob')", 1),
        ("findLast(l, # < 3)", 2),
        ("findLastIndex(l, # > 5)", -1),
        ("sum(people, .age)", 56),
        ("none(l, # > 3) && one(l, # > 2)", True),
        ("map(l, map(l, # * 2))[0][2]", 6),
        ("sortBy(people, .age) | map(.name)", ["Bob", "Ada"]),
        ("sortBy(people, .age, 'desc')[0].name", "Ada"),
        ("groupBy(people, .age > 30)", {"true": [VARIABLES["people"][0]], "false": [VARIABLES["people"][1]]}),
        # names
        ("::max(1, 2)", 2),
        ("max", 5),
        ("#n + ${o.x}", 8),
        # times
        ("now()", "2023-11-14T22:13:20Z"),
        ("date('2023-11-14') < now()", True),
        ("now() - duration('1h30m') < now()", True),
        ("string(duration('1h30m'))", "1h30m0s"),
        ("date('14.11.2023', '02.01.2006')", "2023-11-14T00:00:00Z"),
        ("type(now()) + type(duration('1s')) + type(nil)", "time.Timetime.Durationnil"),
    ],
)
def test_a_value(expression: str, result: Any) -> None:
    found = value(expression)
    assert found == result
    assert type(found) is type(result)


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        # the rewrite ignores string literals
        ("'a\"b'", 'unexpected token Identifier("b") (1:4)'),
        ("\"it's\" + 'x'", 'unexpected token Identifier("s") (1:5)'),
        ("contains(l, len(s))", 'unexpected token Operator("contains") (1:1)'),
        ("${n", "unterminated '${' in expression"),
        # names
        ("nope ?? 1", 'undefined variable "nope"'),
        ("b || nope", 'undefined variable "nope"'),
        ("#a-b", 'undefined variable "a"'),
        ("reduce(l, # + #acc)", 'undefined variable "acc"'),
        ("let n = 1; n", "cannot redeclare variable n (1:5)"),
        ("max(1, 2)", "invalid operation: cannot call non-function (type float64) (1:1)"),
        # types
        ("'a' + 1", "invalid operation: string + int (1:5)"),
        ("n % 4", "invalid operation: float64 % int (1:3)"),
        ("1 % 0", "runtime error: integer divide by zero (1:3)"),
        ("nul && b", "interface conversion: interface {} is nil, not bool (1:5)"),
        ("n ? 1 : 2", "interface conversion: interface {} is float64, not bool (1:3)"),
        ("-s", "invalid operation: - string (1:1)"),
        ("s ** 2", "invalid operation: float(string) (1:3)"),
        ("n matches 'a'", "interface conversion: interface {} is float64, not string (1:3)"),
        ("filter(n, true)", "reflect: call of reflect.Value.Len on float64 Value (1:1)"),
        ("filter(l, 1)", "interface conversion: interface {} is int, not bool (1:1)"),
        ("l.x", "invalid operation: int(string) (1:3)"),
        ("b.x", "cannot fetch x from bool (1:3)"),
        ("n in s", 'operator "in" not defined on string (1:3)'),
        ("int('x')", "invalid operation: int(x) (1:1)"),
        ("abs(s)", "invalid argument for abs (type string) (1:1)"),
        ("l[9:] + 1", "invalid operation: []interface {} + int (1:7)"),
        # grammar
        ("1 2", 'unexpected token Number("2") (1:3)'),
        ("n not 1", 'unexpected token Number("1") (1:7)'),
        ("(1, 2)", 'unexpected token Operator(",") (1:3)'),
        ("{1 + 1: 2}", 'unexpected token Operator("+") (1:4)'),
        ("o.", "expected name (1:2)"),
        ("5a", 'bad number syntax: "5a" (1:1)'),
        ('"open', "literal not terminated (1:1)"),
        ('"\\q"', "invalid char escape (1:1)"),
        ("n @ 1", "unrecognized character: U+0040 '@' (1:3)"),
        ("/* open", "unclosed comment (1:1)"),
        (
            "nul ?? n + 1",
            "Operator (+) and coalesce expressions (??) cannot be mixed. Wrap either by parentheses. (1:10)",
        ),
        ("upper()", "invalid number of arguments (expected 1, got 0) (1:1)"),
        ("false && upper()", "invalid number of arguments (expected 1, got 0) (1:10)"),
        ("split(s)", "invalid number of arguments (expected 2 or 3, got 1) (1:1)"),
        ("concat()", "invalid number of arguments (expected at least 1, got 0) (1:1)"),
        ("filter(l)", "expected at least 2 arguments (1:9)"),
        ("s matches '('", "error parsing regexp: missing closing ): `(` (1:3)"),
        ("1e999", 'invalid float literal: strconv.ParseFloat: parsing "1e999": value out of range (1:5)'),
        ("0x", 'invalid hex literal: strconv.ParseInt: parsing "0x": invalid syntax (1:2)'),
        ("date('soon')", "invalid date soon (1:1)"),
        ("duration('soon')", 'time: invalid duration "soon" (1:1)'),
        ("fromJSON('{')", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (1:1)"),
    ],
)
def test_a_refusal(expression: str, problem: str) -> None:
    assert refusal(expression) == f"expression {quoted(expression)}: {problem}"


def test_the_mark_is_below_the_line_with_the_error() -> None:
    with pytest.raises(ExpressionError) as refused:
        evaluate("1 +\n\tn % 2", VARIABLES, NOW)
    assert str(refused.value).endswith("invalid operation: float64 % int (2:4)\n |  n % 2\n | ...^")


def test_there_is_no_mark_after_a_character_of_several_bytes() -> None:
    with pytest.raises(ExpressionError) as refused:
        evaluate("'é' + 1", VARIABLES, NOW)
    assert str(refused.value).endswith('invalid operation: string + int (1:5)\n | "é" + 1')


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("n / 0", "json: unsupported value: +Inf"),
        ("-n / 0", "json: unsupported value: -Inf"),
        ("[0 / 0]", "json: unsupported value: NaN"),
        ("1e308 * 10", "json: unsupported value: +Inf"),
        ("len", "json: unsupported type: func(...interface {}) (interface {}, error)"),
    ],
)
def test_a_result_without_json(expression: str, problem: str) -> None:
    with pytest.raises(UnsupportedValueError) as refused:
        value(expression)
    assert str(refused.value) == problem
