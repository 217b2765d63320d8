"""Decision tables, as the documents of newer engines describe them."""

from typing import Any

import pytest

from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.records import Instance
from unit.devengine.conftest import upload
from unit.devengine.definitions import definition, step

RULES: list[dict[str, Any]] = [
    {"when": {"n": "n > 1", "other": " "}, "outputs": {"x": 1, "y": "${n * 2}"}},
    {"when": {"n": "n > 5"}, "outputs": {"x": 3}},
    {"outputs": {"x": 2}},
]


def run(state: EngineState, policy: str, rules: list[dict[str, Any]], **variables: Any) -> Instance:
    table = step("t", "DECISION_TABLE", nextStep="end", hitPolicy=policy, decisionTable={"rules": rules})
    upload(state, definition(table))
    return state.start("d", variables=variables)


@pytest.mark.parametrize(
    ("policy", "n", "outputs"),
    [
        ("", 0, {"x": 2}),
        ("F", 7, {"x": 1, "y": 14}),
        ("A", 0, {"x": 2}),
        ("R", 7, {"x": [1, 3, 2], "y": [14, None, None]}),
        ("C", 2, {"x": [1, 2], "y": [4, None]}),
        ("C+", 7, {"x": 6, "y": 14}),
        ("C#", 7, {"x": 3, "y": 3}),
        ("C>", 7, {"x": 3, "y": 14}),
        ("C<", 7, {"x": 1, "y": 14}),
    ],
)
def test_a_hit_policy(fenced: EngineState, policy: str, n: int, outputs: dict[str, Any]) -> None:
    instance = run(fenced, policy, RULES, n=n)
    assert (instance.status, instance.variables) == ("COMPLETED", {"n": n, **outputs})


@pytest.mark.parametrize(
    ("policy", "rules", "reason"),
    [
        ("U", RULES, 'DecisionTableUniqueViolation: step "t", matching rule indices [0 1 2]'),
        ("A", RULES, 'DecisionTableAnyConflict: step "t", matching rule indices [0 1 2]'),
        ("F", [{"when": {"n": "n > 9"}}], "DecisionTableNoRuleMatched"),
        (
            "C+",
            [{"outputs": {"x": "a"}}],
            'DecisionTableAggregatorTypeError: step "t", output "x" is string, not a number',
        ),
        (
            "F",
            [{"when": {"n": "n"}}],
            'DecisionTableCellError: ruleIndex=0 column="n" expr="n" result=float64 not bool',
        ),
        (
            "F",
            [{"when": {"n": "m"}}],
            'DecisionTableCellError: ruleIndex=0 column="n" expr="m" err=expression "m": undefined variable "m"',
        ),
        (
            "F",
            [{"outputs": {"x": "${m}"}}],
            'DecisionTableOutputError: ruleIndex=0 output="x" err=expression "m": undefined variable "m"',
        ),
    ],
)
def test_a_table_without_a_result_fails_the_instance(
    fenced: EngineState, policy: str, rules: list[dict[str, Any]], reason: str
) -> None:
    instance = run(fenced, policy, rules, n=7)
    assert (instance.status, instance.failure_reason, instance.current_step_ids) == ("FAILED", reason, ("t",))


def test_rules_see_the_variables_from_before_the_step(fenced: EngineState) -> None:
    instance = run(fenced, "F", [{"outputs": {"n": "${n + 1}", "m": "${n + 1}"}}], n=1)
    assert instance.variables == {"n": 2, "m": 2}
