"""`python charts/generate.py`: writes what the charts repeat of the resource definition; a test holds both equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

CHARTS = Path(__file__).parent
DEFINITION = CHARTS.parent / "crds" / "rochallorworkers.rochallor.io.yaml"


def values_schema() -> str:
    """The schema of charts/rochallor-worker's values: the spec of a RochallorWorker, in which a typing error shows.

    Defaults and the rules that Kubernetes alone understands stay in the resource definition.
    """
    (version,) = yaml.safe_load(DEFINITION.read_text())["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema: dict[str, Any] = {"$schema": "http://json-schema.org/draft-07/schema#", **_json_schema(spec)}
    schema["properties"] = {"global": {"type": "object"}, **schema["properties"]}
    return json.dumps(schema, indent=2) + "\n"


def _json_schema(openapi: dict[str, Any]) -> dict[str, Any]:
    schema = {
        key: value for key, value in openapi.items() if not key.startswith("x-") and key not in {"default", "format"}
    }
    if "properties" in schema:
        schema["properties"] = {name: _json_schema(each) for name, each in schema["properties"].items()}
        if not openapi.get("x-kubernetes-preserve-unknown-fields"):
            schema["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _json_schema(schema[key])
    return schema


FILES = {
    CHARTS / "rochallor-worker" / "values.schema.json": values_schema,
    CHARTS / "rochallor-operator" / "files" / DEFINITION.name: DEFINITION.read_text,
}

if __name__ == "__main__":
    for file, content in FILES.items():
        file.write_text(content())
