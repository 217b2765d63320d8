"""Definitions: from REST's form to gRPC's message and back."""

from typing import Any

import pytest

from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.grpc.definitions import from_definition, to_definition

SCHEMA = {"type": "object", "required": ["total"], "properties": {"total": {"type": "number", "minimum": 1}}}
RULES: list[dict[str, Any]] = [
    {"when": {"total": "> 100", "country": '"SE"'}, "then": "check", "outputs": {"score": 7, "rate": 0.5, "tags": [1]}},
    {"when": {"total": "<= 100"}, "outputs": {"score": None, "deep": {"n": 2}}},
]
DEFINITION: dict[str, Any] = {
    "id": "order",
    "name": "Order",
    "description": "An order",
    "metadata": {"weight": 2},
    "input_schema": SCHEMA,
    "steps": [
        {
            "id": "rate",
            "name": "Rate",
            "type": "DECISION_TABLE",
            "hitPolicy": "FIRST",
            "decisionTable": {"rules": RULES, "defaultNextStep": "check"},
        },
        {
            "id": "check",
            "name": "Check",
            "type": "SERVICE_TASK",
            "jobType": "check",
            "retryCount": 2,
            "nextStep": "end",
            "outputs_schema": SCHEMA,
        },
        {"id": "count", "type": "TRANSFORMATION", "transformations": {"n": 3, "text": "${a}"}},
        {"id": "end", "name": "End", "type": "END"},
    ],
}


def test_a_definition_survives_the_round_trip() -> None:
    back = from_definition(pb.WorkflowDefinition.FromString(to_definition(DEFINITION).SerializeToString()))
    assert back == DEFINITION
    minimum = back["input_schema"]["properties"]["total"]["minimum"]
    assert [type(minimum), type(back["steps"][0]["decisionTable"]["rules"][0]["outputs"]["score"])] == [int, int]


def test_the_message_has_the_engines_fields() -> None:
    message = to_definition(DEFINITION)
    table, checked = message.steps[0], message.steps[1]
    assert table.type == pb.STEP_TYPE_DECISION_TABLE
    assert (table.hit_policy, table.decision_table.default_next_step) == ("FIRST", "check")
    assert dict(table.decision_table.rules[0].when) == RULES[0]["when"]
    assert [rule.then for rule in table.decision_table.rules] == ["check", ""]
    assert table.decision_table.rules[0].outputs["score"].number_value == 7
    assert message.HasField("input_schema")
    assert checked.HasField("outputs_schema")


@pytest.mark.parametrize("schema", [{}, {"a": {}}])
def test_an_empty_schema_is_kept(schema: dict[str, Any]) -> None:
    definition = {"id": "d", "input_schema": schema, "steps": [{"id": "a", "outputs_schema": schema}]}
    assert from_definition(to_definition(definition)) == definition


def test_a_newer_engine_returns_no_steps() -> None:
    message = pb.WorkflowDefinition(id="d", version=3, name="D", description="x", input_schema={"type": "object"})
    assert from_definition(message) == {
        "id": "d",
        "version": 3,
        "name": "D",
        "description": "x",
        "input_schema": {"type": "object"},
    }


def test_unknown_types_become_their_numbers() -> None:
    step: Any = {"id": "a", "type": 42, "boundary_events": [{"type": 43}]}
    [found] = from_definition(pb.WorkflowDefinition(steps=[step]))["steps"]
    assert found == {"id": "a", "type": "42", "boundaryEvents": [{"type": "43"}]}


@pytest.mark.parametrize(
    "step",
    [
        {"type": "NO_SUCH_TYPE"},
        {"decisionTable": {"rules": {}}},
        {"decisionTable": {"rules": [5]}},
        {"decisionTable": {"rules": [{"when": {"total": 5}}]}},
        {"decisionTable": {"rules": [{"outputs": {"n": 10**400}}]}},
        {"outputs_schema": "none"},
    ],
)
def test_invalid_definitions(step: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        to_definition({"id": "d", "steps": [step]})
