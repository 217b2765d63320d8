"""Definitions: JSON as REST takes and gives them ↔ gRPC's message."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format

from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.struct import from_struct, from_value

STEP_TYPE = "STEP_TYPE_"
"""What gRPC writes before the name of a step's type."""
_EVENT_TYPE = "BOUNDARY_EVENT_TYPE_"


def to_definition(definition: Mapping[str, Any]) -> pb.WorkflowDefinition:
    """Return a definition, as REST takes it, as a message. Raises `ValueError` or `TypeError` for what it is not."""
    fields = json.loads(json.dumps(definition, allow_nan=False))
    for step in _typed(fields, "steps"):
        step["type"] = f"{STEP_TYPE}{step['type']}"
        for event in _typed(step, "boundaryEvents"):
            event["type"] = f"{_EVENT_TYPE}{event['type']}"
    try:
        return json_format.ParseDict(fields, pb.WorkflowDefinition())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error


def from_definition(message: pb.WorkflowDefinition) -> dict[str, Any]:
    """Return a definition as REST gives it: camelCase, without what is empty. Raises `ValueError` if it has no JSON."""
    try:
        fields: dict[str, Any] = json_format.MessageToDict(message)
    except json_format.SerializeToJsonError as error:
        raise ValueError(str(error)) from error
    if message.HasField("metadata"):
        fields["metadata"] = from_struct(message.metadata)
    for step, sent in zip(fields.get("steps", ()), message.steps, strict=True):
        if "type" in step:
            step["type"] = str(step["type"]).removeprefix(STEP_TYPE)
        for event in _typed(step, "boundaryEvents"):
            event["type"] = str(event["type"]).removeprefix(_EVENT_TYPE)
        if sent.transformations:
            step["transformations"] = {name: from_value(value) for name, value in sent.transformations.items()}
    return fields


def _typed(parent: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """Yield the objects with a type in a list; whatever else there is, is refused where it is parsed."""
    entries = parent.get(name)
    if isinstance(entries, list):
        yield from (entry for entry in entries if isinstance(entry, dict) and "type" in entry)
