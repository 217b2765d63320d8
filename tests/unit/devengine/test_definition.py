"""Definitions: what is accepted, and that a refusal names every problem."""

import msgspec
import pytest

from rochallor_worker.devengine.definition import Definition, check
from rochallor_worker.devengine.errors import BadRequestError

TASK = {"id": "a", "name": "A", "type": "SERVICE_TASK", "jobType": "t", "nextStep": "e"}
END = {"id": "e", "name": "E", "type": "END"}


def definition(**changes: object) -> Definition:
    return msgspec.convert({"id": "order", "name": "Order", "steps": [TASK, END], **changes}, Definition)


def test_a_definition_with_everything_the_dev_engine_runs_is_accepted() -> None:
    task = TASK | {"retryCount": 3, "delegateClass": "x.Y", "description": "does it"}
    check(definition(id="LOS::loan-1_a", description="d", metadata={"owner": {"team": 1}}, steps=[task, END]))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": ""}, "id is required"),
        ({"id": "my workflow"}, 'id "my workflow" must match'),
        ({"id": "x" * 257}, "at most 256 characters, has 257"),
        ({"name": ""}, "name is required"),
        ({"steps": []}, "steps must not be empty"),
        ({"autoStartNextWorkflow": True, "nextWorkflowId": "n"}, "autoStartNextWorkflow is not supported"),
        ({"steps": [TASK | {"id": ""}, END]}, "step[0] id is required"),
        ({"steps": [TASK, TASK, END]}, 'duplicate step id: "a"'),
        ({"steps": [TASK | {"name": ""}, END]}, 'step "a": name is required'),
        ({"steps": [TASK | {"jobType": ""}, END]}, 'step "a": jobType is required'),
        ({"steps": [TASK | {"jobType": "a\0b"}, END]}, 'step "a": jobType must not contain NUL'),
        ({"steps": [TASK | {"retryCount": -1}, END]}, 'step "a": retryCount must not be negative, is -1'),
        ({"steps": [TASK | {"type": "MAGIC"}, END]}, 'step "a": unsupported type "MAGIC"'),
        ({"steps": [TASK | {"type": "WAIT"}, END]}, 'step "a": type WAIT is not supported by the dev engine'),
        ({"steps": [TASK | {"boundaryEvents": [{}]}, END]}, 'step "a": boundaryEvents is not supported'),
        ({"steps": [TASK | {"nextStep": "x"}, END]}, 'step "a": nextStep references unknown step "x"'),
        ({"steps": [TASK | {"nextStep": ""}, END]}, 'step "e" is unreachable'),
        ({"steps": [TASK | {"nextStep": "a"}, END]}, "no END step is reachable"),
        ({"steps": [TASK | {"nextStep": ""}]}, "no END step is reachable"),
    ],
)
def test_a_problem_is_named(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(BadRequestError) as refusal:
        check(definition(**changes))
    assert problem in str(refusal.value)


@pytest.mark.parametrize(
    "step_type", ["USER_TASK", "DECISION", "TRANSFORMATION", "WAIT", "PARALLEL_GATEWAY", "JOIN_GATEWAY"]
)
def test_a_step_type_it_does_not_run_is_the_only_complaint(step_type: str) -> None:
    with pytest.raises(BadRequestError) as refusal:
        check(definition(steps=[TASK, END | {"id": "e", "type": step_type}]))
    assert str(refusal.value) == (
        f'validation error: step "e": type {step_type} is not supported by the dev engine, '
        "which runs SERVICE_TASK and END"
    )


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadRequestError) as refusal:
        check(definition(id="", name="", steps=[TASK | {"jobType": "", "nextStep": "x"}, END | {"name": ""}]))
    assert str(refusal.value) == "validation error: " + "; ".join(
        [
            "id is required",
            "name is required",
            'step "a": jobType is required',
            'step "a": nextStep references unknown step "x"',
            'step "e": name is required',
            'step "e" is unreachable from the first step',
            "no END step is reachable from the first step",
        ]
    )
