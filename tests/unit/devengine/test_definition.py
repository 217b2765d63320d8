"""Definitions: which are accepted, and that an error names every problem (tests/contract: `definitions-wrong`)."""

import msgspec
import pytest

from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.errors import BadRequestError
from rochallor_worker.devengine.validation import check

TASK = {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "t", "nextStep": "e"}
END = {"id": "e", "name": "E", "type": "END"}
TIMER = {"type": "TIMER", "duration": "PT1S", "targetStepId": "e"}


def definition(**changes: object) -> Definition:
    return msgspec.convert({"id": "order", "name": "Order", "steps": [TASK, END], **changes}, Definition)


def test_a_definition_with_many_fields_is_accepted() -> None:
    task = TASK | {"retryCount": 3, "delegateClass": "x.Y", "description": "does it"}
    check(definition(id="LOS::loan-1_a", description="d", metadata={"owner": {"team": 1}}, steps=[task, END]))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": ""}, "id is required"),
        ({"id": "my workflow"}, 'id "my workflow" must match'),
        ({"id": "x" * 257}, "id must be ≤ 256 characters, got 257"),
        ({"name": ""}, "name is required"),
        ({"steps": []}, "steps must not be empty"),
        ({"steps": [TASK | {"id": ""}, END]}, "step[0] id is required"),
        ({"steps": [TASK, TASK, END]}, 'duplicate step id: "a"'),
        ({"steps": [TASK | {"name": ""}, END]}, 'step "a": name is required'),
        ({"steps": [TASK | {"jobType": ""}, END]}, 'step "a" (SERVICE_TASK): jobType is required'),
        ({"steps": [TASK | {"jobType": "a\0b"}, END]}, 'step "a" (SERVICE_TASK): jobType must not contain NUL'),
        ({"steps": [TASK | {"type": "MAGIC"}, END]}, 'step "a": unsupported type "MAGIC"'),
        ({"steps": [TASK | {"type": "DECISION_TABLE"}, END]}, 'step "a": unsupported type "DECISION_TABLE"'),
        ({"steps": [TASK | {"boundaryEvents": [{}]}, END]}, 'step "a" boundaryEvents[0]: duration is required'),
        ({"steps": [TASK | {"boundaryEvents": [TIMER | {"targetStepId": "x"}]}, END]}, 'unknown step "x"'),
        ({"autoStartNextWorkflow": True}, "nextWorkflowId is required when autoStartNextWorkflow is true"),
        ({"steps": [TASK | {"nextStep": "x"}, END]}, 'step "a" nextStep references unknown step "x"'),
        ({"steps": [TASK | {"nextStep": ""}, END]}, 'step "e" is unreachable'),
        ({"steps": [TASK | {"nextStep": "a"}, END]}, "no END step is reachable"),
        ({"steps": [TASK | {"nextStep": ""}]}, "no END step is reachable"),
    ],
)
def test_a_problem_is_named(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(BadRequestError) as refusal:
        check(definition(**changes), "A")
    assert problem in str(refusal.value)


def table(**changes: object) -> dict[str, object]:
    rules = {"rules": [{"when": {"n": "n > 1"}, "outputs": {"x": 1}}]}
    return {"id": "a", "name": "A", "type": "DECISION_TABLE", "nextStep": "e", "decisionTable": rules, **changes}


def test_newer_engines_accept_a_decision_table() -> None:
    for policy in ("", "U", "F", "A", "R", "C", "C+", "C#", "C>", "C<"):
        check(definition(steps=[table(hitPolicy=policy), END]))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"decisionTable": {"rules": []}}, "decisionTable.rules must not be empty"),
        ({"decisionTable": {"rules": [{"then": "e"}]}}, "decisionTable.rules[0].then is not supported"),
        ({"decisionTable": {"rules": [{}], "defaultNextStep": "e"}}, "decisionTable.defaultNextStep is not supported"),
        ({"hitPolicy": "P"}, 'unsupported hitPolicy "P"'),
        ({"nextStep": ""}, "nextStep is required"),
        ({"jobType": "t"}, "jobType is not a field of this type"),
    ],
)
def test_a_problem_of_a_decision_table_is_named(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(BadRequestError) as refusal:
        check(definition(steps=[table(**changes), END]))
    assert f'step "a" (DECISION_TABLE): {problem}' in str(refusal.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadRequestError) as refusal:
        check(definition(id="", name="", steps=[TASK | {"jobType": "", "nextStep": "x"}, END | {"name": ""}]), "A")
    assert str(refusal.value) == "\n  ".join(
        [
            "validation error: validation errors:",
            "id is required",
            "name is required",
            'step "a" (SERVICE_TASK): jobType is required',
            'step "a" nextStep references unknown step "x"',
            'step "e": name is required',
            'step "e" is unreachable from the first step',
            "no END step is reachable from the first step",
        ]
    )


def test_a_step_may_have_fields_that_its_type_does_not_use() -> None:
    check(definition(steps=[TASK | {"joinStep": "e", "parallelNextSteps": ["e"]}, END | {"nextStep": "nope"}]))
    check(definition(steps=[TASK | {"retryCount": -1}, END]))
