"""Definitions: JSON, as over REST ↔ gRPC's message.

Names are camelCase, except those of the schemas (engine.md: `input_schema`, `outputs_schema`).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.grpc.struct import from_struct, from_value

STEP_TYPE = "STEP_TYPE_"
"""gRPC's prefix of step types."""
_EVENT_TYPE = "BOUNDARY_EVENT_TYPE_"


def to_definition(definition: Mapping[str, Any]) -> pb.WorkflowDefinition:
    """Return a definition, given as for REST, as a message. Raises `ValueError` or `TypeError` if it is none."""
    fields = json.loads(json.dumps(definition, allow_nan=False))
    for step in _typed(fields, "steps"):
        step["type"] = f"{STEP_TYPE}{step['type']}"
        for event in _typed(step, "boundaryEvents"):
            event["type"] = f"{_EVENT_TYPE}{event['type']}"
    try:
        return json_format.ParseDict(fields, pb.WorkflowDefinition())
    except (json_format.ParseError, OverflowError) as error:
        raise ValueError(str(error)) from error


def from_definition(message: pb.WorkflowDefinition) -> dict[str, Any]:
    """Return a definition as REST does, without empty fields. Raises `ValueError` if it cannot be JSON.

    A step type that this client does not know becomes its number.
    """
    try:
        fields: dict[str, Any] = json_format.MessageToDict(message)
    except json_format.SerializeToJsonError as error:
        raise ValueError(str(error)) from error
    if message.HasField("metadata"):
        fields["metadata"] = from_struct(message.metadata)
    if message.HasField("input_schema"):
        del fields["inputSchema"]
        fields["input_schema"] = from_struct(message.input_schema)
    for step, sent in zip(fields.get("steps", ()), message.steps, strict=True):
        _correct(step, sent)
    return fields


def _correct(step: dict[str, Any], sent: pb.WorkflowStep) -> None:
    """Give a step the names and values of REST."""
    if "type" in step:
        step["type"] = str(step["type"]).removeprefix(STEP_TYPE)
    for event in _typed(step, "boundaryEvents"):
        event["type"] = str(event["type"]).removeprefix(_EVENT_TYPE)
    if sent.transformations:
        step["transformations"] = _values(sent.transformations)
    if sent.HasField("outputs_schema"):
        del step["outputsSchema"]
        step["outputs_schema"] = from_struct(sent.outputs_schema)
    rules = step.get("decisionTable", {}).get("rules", ())
    for rule, sent_rule in zip(rules, sent.decision_table.rules, strict=True):
        if sent_rule.outputs:
            rule["outputs"] = _values(sent_rule.outputs)


def _values(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: from_value(value) for name, value in values.items()}


def _typed(parent: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Yield the objects with a type in a list; anything else is refused when it is parsed."""
    entries = parent.get(name)
    if isinstance(entries, list):
        yield from (entry for entry in entries if isinstance(entry, dict) and "type" in entry)
