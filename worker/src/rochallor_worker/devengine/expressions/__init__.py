"""The engine's expression language: expr-lang behind a rewrite of the text (contract: `workflow.md`, "Expressions").

Whatever the expression and the variables are, `evaluate` ends soon, with a value or an `ExpressionError`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rochallor_worker.devengine.expressions import nodes
from rochallor_worker.devengine.expressions.evaluator import Evaluation
from rochallor_worker.devengine.expressions.functions import ANY_NUMBER, FUNCTION_NAMES, SIGNATURES
from rochallor_worker.devengine.expressions.gotext import (
    ExpressionError,
    LocatedError,
    UnsupportedValueError,
    plain,
    quoted,
    type_name,
)
from rochallor_worker.devengine.expressions.lexer import rewrite
from rochallor_worker.devengine.expressions.parser import parse

__all__ = ["ExpressionError", "UnsupportedValueError", "evaluate", "plain", "type_name"]


def evaluate(expression: str, variables: Mapping[str, Any], now: float) -> Any:
    """Return the value of an expression; `now` is the time in epoch seconds.

    It is a value of the language; `plain` turns it into a variable. Raises `ExpressionError`.
    """
    source = ""
    try:
        source = rewrite(expression)
        node = parse(source, FUNCTION_NAMES.intersection(variables))
        used = {name.name: name for name in _names(node)}
        _check_names(used, variables)
        _check_arguments(node)
        known = {name: _as_floats(variables[name]) for name in used if name in variables}
        return Evaluation(known, now).of(node)
    except LocatedError as error:
        raise ExpressionError(f"expression {quoted(expression)}: {_described(error, source)}") from None
    except RecursionError:
        raise ExpressionError(f"expression {quoted(expression)}: it is nested too deeply") from None


def _names(node: nodes.Node) -> Iterator[nodes.Name]:
    for child in node.children():
        yield from _names(child)
    if isinstance(node, nodes.Name):
        yield node


def _check_names(used: Mapping[str, nodes.Name], variables: Mapping[str, Any]) -> None:
    for name in used:
        if name not in variables and name not in FUNCTION_NAMES:
            raise LocatedError(f"undefined variable {quoted(name)}")


def _check_arguments(node: nodes.Node) -> None:
    if isinstance(node, nodes.Builtin) and node.name in SIGNATURES:
        least, most = SIGNATURES[node.name]
        given = len(node.arguments)
        if not least <= given <= most:
            wanted = (
                f"{least}" if least == most else f"at least {least}" if most == ANY_NUMBER else f"{least} or {most}"
            )
            raise LocatedError(f"invalid number of arguments (expected {wanted}, got {given})", node.at)
    for child in node.children():
        _check_arguments(child)


def _as_floats(value: Any) -> Any:
    """Return a variable as an expression sees it: all its numbers are floats."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case list():
            return [_as_floats(item) for item in value]
        case dict():
            return {name: _as_floats(item) for name, item in value.items()}
    return value


def _described(error: LocatedError, source: str) -> str:
    """Return the error's text; if it has a place, with that line of the source and a mark below it."""
    if error.at is None or not source:
        return error.message
    before = source[: error.at]
    line, column = before.count("\n"), len(before) - (before.rfind("\n") + 1)
    text = source.split("\n")[line].replace("\t", " ")
    mark = f"\n | {'.' * column}^" if text[: column + 1].isascii() else ""
    return f"{error.message} ({line + 1}:{column + 1})\n | {text}{mark}"
