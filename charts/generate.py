"""`python charts/generate.py`: writes the parts of the charts that repeat the CRD or the charts' own values.

A test keeps them equal.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHARTS = Path(__file__).parent
OPERATOR = CHARTS / "rochallor-operator"
WORKER = CHARTS / "rochallor-worker"
CRDS = CHARTS.parent / "crds"
DEFINITION = CRDS / "rochallorworkers.rochallor.io.yaml"


HEAD = """\
# The values are the spec of a RochallorWorker, and networkPolicy; the release name becomes the worker's name. jobTypes,
# handlers, and engine or engineRef are required, such as:
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
GENERATED = "<!-- Written by charts/generate.py; edit it there. -->\n\n"
OPERATORS_README = (
    GENERATED
    + """\
# rochallor-operator

The operator keeps a Deployment of workers for each `RochallorWorker` of a cluster. Workers take the jobs of the engine
rochallor-engine, and run your Python code for them.

    helm install rochallor-operator oci://REGISTRY/OWNER/charts/rochallor-operator \\
      --namespace rochallor-system --create-namespace

An upgrade also upgrades the definitions of the resources; an uninstall keeps them, and with them all workers. If
another release or `kubectl apply` has made the definitions, add `--take-ownership`.

## Values

"""
)
WORKERS_README = (
    GENERATED
    + """\
# rochallor-worker

One `RochallorWorker`, for people who deploy their workers with Helm. The cluster needs the chart rochallor-operator.
The release's name becomes the worker's, and the values are the fields of its spec. `jobTypes`, `handlers`, and `engine`
or `engineRef` are required, such as:

```yaml
engine:
  url: http://rochallor-engine:8080
jobTypes: [charge-card]
image: registry.example.com/shop-worker:1.4.0
handlers:
  module: shop.handlers:registry
```

    helm install payments oci://REGISTRY/OWNER/charts/rochallor-worker --values values.yaml

## Values

`kubectl explain rochallorworker.spec.NAME` lists the subfields of a value.

"""
)
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
    schema["anyOf"] = [{"required": [name]} for name in ("engine", "engineRef")]
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


def operators_schema() -> str:
    """The schema of charts/rochallor-operator's values, with the comments of values.yaml as its descriptions."""
    schema: dict[str, Any] = json.loads((OPERATOR / "values.schema.json").read_text())
    for path, comment in _comments():
        field = schema
        for name in path:
            field = field["properties"][name]
        field["description"] = comment
    return json.dumps(schema, indent=2) + "\n"


def operators_readme() -> str:
    """charts/rochallor-operator's README: every value with its default and its comment."""
    comments = list(_comments())
    parents = {path[:-1] for path, _ in comments}
    rows = []
    for path, comment in comments:
        default: Any = yaml.safe_load((OPERATOR / "values.yaml").read_text())
        for name in path:
            default = default[name]
        rows.append((".".join(path), "" if path in parents else f"`{json.dumps(default)}`", comment))
    return OPERATORS_README + _table(("value", "default", "meaning"), rows)


def workers_readme() -> str:
    """charts/rochallor-worker's README: every value with its description."""
    described = _spec()["properties"] | NOT_OF_THE_SPEC
    return WORKERS_README + _table(
        ("value", "meaning"), ((name, field["description"]) for name, field in described.items())
    )


def _comments() -> Iterator[tuple[tuple[str, ...], str]]:
    """The commented values in charts/rochallor-operator's values.yaml, each with its path and its comment."""
    comment: list[str] = []
    path: list[str] = []
    for line in (OPERATOR / "values.yaml").read_text().splitlines():
        name = re.match(r"( *)(\w+):", line)
        if line.lstrip().startswith("# "):
            comment.append(line.lstrip()[2:])
        elif name is not None and comment:
            path[len(name[1]) // 2 :] = [name[2]]
            yield tuple(path), " ".join(comment)
            comment = []


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *((f"`{row[0]}`", *row[1:]) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


FILES = {
    WORKER / "values.yaml": values,
    WORKER / "values.schema.json": values_schema,
    WORKER / "README.md": workers_readme,
    OPERATOR / "values.schema.json": operators_schema,
    OPERATOR / "README.md": operators_readme,
    **{OPERATOR / "files" / crd.name: crd.read_text for crd in CRDS.glob("*.yaml")},
}

if __name__ == "__main__":
    for file, content in FILES.items():
        file.write_text(content())
