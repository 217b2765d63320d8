"""`python charts/generate.py`: writes the parts of the charts that repeat the CRD; a test keeps them equal."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).parent
DEFINITION = CHARTS.parent / "crds" / "rochallorworkers.rochallor.io.yaml"


HEAD = """\
# The values are the spec of a RochallorWorker, and networkPolicy; the release name becomes the worker's name. engine,
# jobTypes and handlers are required, such as:
#
# engine:
#   url: http://rochallor-engine:8080
# jobTypes: [charge-card]
# image: registry.example.com/shop-worker:1.4.0
# handlers:
#   module: shop.handlers:registry
#
# Nothing is set here; the resource's own defaults apply. `kubectl explain rochallorworker.spec.NAME` lists a field's
# subfields.
"""
PEERS = {"type": "array", "items": {"type": "object"}}
NOT_OF_THE_SPEC: dict[str, Any] = {
    "networkPolicy": {
        "type": "object",
        "description": "A NetworkPolicy for the pods, made by helm: who may reach them, and what they may reach.",
        "properties": {
            "enabled": {"type": "boolean", "description": "Create it. Default false."},
            "metricsFrom": PEERS
            | {
                "description": "Who may reach port 9090: peers of a NetworkPolicy. The operator and Prometheus need it."
                " Default: the pods of the namespaces rochallor-system and monitoring."
            },
            "egress": PEERS
            | {
                "description": "What the pods may reach beside DNS: egress rules of a NetworkPolicy, for the engine,"
                " Kafka, and what the handlers call. Default: everything."
            },
        },
    }
}
"""Values of charts/rochallor-worker that are no fields of the spec."""
TAIL = """\
# A NetworkPolicy for the pods, made by helm; no field of the spec.
# networkPolicy:
#   # Create it.
#   enabled: false
#   # Who may reach port 9090: peers of a NetworkPolicy. The operator and Prometheus need it.
#   metricsFrom:
#     - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: rochallor-system}}
#     - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}
#   # What the pods may reach beside DNS: egress rules of a NetworkPolicy, for the engine, Kafka, and what the handlers
#   # call. Empty for everything.
#   egress: []
"""
EMPTY = {"object": "{}", "array": "[]", "string": '""'}
WIDTH = 118


def values() -> str:
    """charts/rochallor-worker's values.yaml: every field of the spec with its description, none of them set."""
    parts = [HEAD]
    for name, field in _spec()["properties"].items():
        text = textwrap.fill(field["description"], WIDTH, initial_indent="# ", subsequent_indent="# ")
        value = json.dumps(field["default"]) if "default" in field else EMPTY[field["type"]]
        parts.append(f"{text}\n# {name}: {value}\n")
    return "\n".join([*parts, TAIL])


def values_schema() -> str:
    """The schema of charts/rochallor-worker's values: the spec of a RochallorWorker, so that typos are found.

    Defaults and the rules that only Kubernetes understands stay in the CRD. Optional fields may be null: `--set
    NAME=null` removes a value that a values file sets.
    """
    schema: dict[str, Any] = {"$schema": "http://json-schema.org/draft-07/schema#", **_json_schema(_spec())}
    fields = {
        name: field if name in schema["required"] else _or_null(field) for name, field in schema["properties"].items()
    }
    more = {name: _or_null(_json_schema(field)) for name, field in NOT_OF_THE_SPEC.items()}
    schema["properties"] = {"global": {"type": "object"}, **fields, **more}
    return json.dumps(schema, indent=2) + "\n"


def _spec() -> dict[str, Any]:
    (version,) = yaml.safe_load(DEFINITION.read_text())["spec"]["versions"]
    spec: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _json_schema(openapi: dict[str, Any]) -> dict[str, Any]:
    schema = {
        key: value for key, value in openapi.items() if not key.startswith("x-") and key not in {"default", "format"}
    }
    if any("description" not in each for each in schema.get("properties", {}).values()):
        del schema["properties"]  # a PodSpec: the API server checks its own fields
    if "properties" in schema:
        schema["properties"] = {name: _json_schema(each) for name, each in schema["properties"].items()}
        schema["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _json_schema(schema[key])
    return schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    nullable = schema | {"type": [schema["type"], "null"]}
    return nullable | {"enum": [*schema["enum"], None]} if "enum" in schema else nullable


FILES = {
    CHARTS / "rochallor-worker" / "values.yaml": values,
    CHARTS / "rochallor-worker" / "values.schema.json": values_schema,
    CHARTS / "rochallor-operator" / "files" / DEFINITION.name: DEFINITION.read_text,
}

if __name__ == "__main__":
    for file, content in FILES.items():
        file.write_text(content())
