"""DECISION_TABLE: which rules match, and their outputs.

From the documents of newer engines, not recorded from one (contract: `workflow.md`, "Steps").
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rochallor_worker.devengine.definition import DecisionTableRule, Step
from rochallor_worker.devengine.expressions import ExpressionError, evaluate, type_name
from rochallor_worker.devengine.model.variables import Variables, evaluated


class DecisionTableError(Exception):
    """The table has no result. The text is the reason why the instance fails."""


def decide(step: Step, variables: Mapping[str, Any], now: float) -> Variables:
    """Return the variables that a table sets. Raises `DecisionTableError` and `UnsupportedValueError`."""
    rules = (step.decision_table.rules if step.decision_table else None) or []
    matching = []
    for index, rule in enumerate(rules):
        if _matches(rule, index, variables, now):
            matching.append(index)
            if step.hit_policy == "F":
                break
    if not matching:
        raise DecisionTableError("DecisionTableNoRuleMatched")
    rows = [_outputs(rules[index], index, variables, now) for index in matching]
    return _POLICIES[step.hit_policy or "U"](step, matching, rows)


def _matches(rule: DecisionTableRule, index: int, variables: Mapping[str, Any], now: float) -> bool:
    return all(
        _holds(column, cell, index, variables, now) for column, cell in (rule.when or {}).items() if cell.strip()
    )


def _holds(column: str, cell: str, index: int, variables: Mapping[str, Any], now: float) -> bool:
    where = f'DecisionTableCellError: ruleIndex={index} column="{column}" expr="{cell}"'
    try:
        result = evaluate(cell, variables, now)
    except ExpressionError as error:
        raise DecisionTableError(f"{where} err={error}") from error
    if not isinstance(result, bool):
        raise DecisionTableError(f"{where} result={type_name(result)} not bool")
    return result


def _outputs(rule: DecisionTableRule, index: int, variables: Mapping[str, Any], now: float) -> Variables:
    found = {}
    for name, value in (rule.outputs or {}).items():
        try:
            found[name] = evaluated(value, variables, now)
        except ExpressionError as error:
            where = f'DecisionTableOutputError: ruleIndex={index} output="{name}"'
            raise DecisionTableError(f"{where} err={error}") from error
    return found


# hit policies

Rows = Sequence[Variables]
Policy = Callable[[Step, Sequence[int], Rows], Variables]


def _unique(step: Step, matching: Sequence[int], rows: Rows) -> Variables:
    if len(rows) > 1:
        raise DecisionTableError(_of_rules("DecisionTableUniqueViolation", step, matching))
    return rows[0]


def _any(step: Step, matching: Sequence[int], rows: Rows) -> Variables:
    if any(row != rows[0] for row in rows):
        raise DecisionTableError(_of_rules("DecisionTableAnyConflict", step, matching))
    return rows[0]


def _of_rules(problem: str, step: Step, matching: Sequence[int]) -> str:
    return f'{problem}: step "{step.id}", matching rule indices [{" ".join(map(str, matching))}]'


def _columns(rows: Rows) -> dict[str, list[Any]]:
    """Return the outputs by name, with None for rules that lack one."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _aggregated(aggregate: Callable[[list[float]], float]) -> Policy:
    def combine(step: Step, _matching: Sequence[int], rows: Rows) -> Variables:
        return {name: aggregate(_numbers(step, name, values)) for name, values in _columns(rows).items()}

    return combine


def _numbers(step: Step, name: str, values: list[Any]) -> list[float]:
    given = [value for value in values if value is not None]
    for value in given:
        if not isinstance(value, int | float) or isinstance(value, bool):
            problem = f'step "{step.id}", output "{name}" is {type_name(value)}, not a number'
            raise DecisionTableError(f"DecisionTableAggregatorTypeError: {problem}")
    return given


_POLICIES: dict[str, Policy] = {
    "U": _unique,
    "F": lambda _step, _matching, rows: rows[0],
    "A": _any,
    "R": lambda _step, _matching, rows: _columns(rows),
    "C": lambda _step, _matching, rows: _columns(rows),
    "C+": _aggregated(sum),
    "C#": lambda _step, _matching, rows: {name: len(values) for name, values in _columns(rows).items()},
    "C>": _aggregated(lambda numbers: max(numbers, default=0)),
    "C<": _aggregated(lambda numbers: min(numbers, default=0)),
}
