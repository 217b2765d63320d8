"""`python crds/generate.py FILE`: writes the schema of `spec.template.spec` into the CRD.

FILE is the output of `kubectl get --raw /openapi/v3/api/v1`: the API server's own schemas. A test keeps the CRD equal
to those of the cluster's API server.

With a schema, the API server drops fields that no pod has, so that nobody can store an object that is nested too deeply
for programs to parse.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

import yaml

DEFINITION: Final = Path(__file__).parent / "rochallorworkers.rochallor.io.yaml"
BEGIN: Final = "# The rest is written by crds/generate.py from the API server's schema of a PodSpec.\n"
END: Final = "# Up to here.\n"
INDENT: Final = 22

MAX_TEXT: Final = 32768
"""The longest text that a template may hold anywhere."""
MAX_ITEMS: Final = 256
_METADATA: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_OF_METADATA: Final = ("annotations", "labels")

Schema = dict[str, Any]


def pod_spec(openapi: Schema) -> Schema:
    """The fields of a PodSpec as a structural schema. It describes a patch, so nothing is required, and null removes a
    field; the API server checks the whole when the operator applies it."""
    fields: Schema = _Structural(openapi["components"]["schemas"]).named("io.k8s.api.core.v1.PodSpec")["properties"]
    return fields


class _Structural:
    """The API server's schemas in the form that a CRD allows: without references, defaults and descriptions."""

    def __init__(self, schemas: Schema) -> None:
        self._schemas: Final = schemas
        self._named: dict[str, Schema] = {}

    def named(self, name: str) -> Schema:
        """The schema of a name: always the same object, which YAML writes out only once."""
        if name not in self._named:
            self._named[name] = self._convert(name, self._schemas[name])
        return self._named[name]

    def _field(self, schema: Schema) -> Schema:
        for part in (schema, *schema.get("allOf", [])):
            if "$ref" in part:
                return self.named(part["$ref"].rpartition("/")[2])
        return self._convert("", schema)

    def _convert(self, name: str, schema: Schema) -> Schema:
        if name == _QUANTITY or schema.get("format") == "int-or-string":
            either = [{"type": "integer"}, {"type": "string"}]
            return {"x-kubernetes-int-or-string": True, "anyOf": either, "maxLength": 64, "nullable": True}
        made: Schema = {part: schema[part] for part in ("type", "format") if part in schema} | {"nullable": True}
        if made["type"] == "string":
            made["maxLength"] = MAX_TEXT
        if "properties" in schema:
            fields = schema["properties"].items()
            kept = [(field, inner) for field, inner in fields if name != _METADATA or field in _OF_METADATA]
            made["properties"] = {field: self._field(inner) for field, inner in kept}
        if "additionalProperties" in schema:
            made |= {"additionalProperties": self._field(schema["additionalProperties"]), "maxProperties": MAX_ITEMS}
        if "items" in schema:
            made |= {"items": self._field(schema["items"]), "maxItems": MAX_ITEMS}
        return made


def definition(text: str, fields: Schema) -> str:
    """The text of the CRD with these fields of a PodSpec in place of the old ones."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    written = yaml.dump({"properties": fields}, width=100)
    return before + BEGIN + textwrap.indent(written + END, " " * INDENT) + after


def main(*arguments: str) -> None:
    """Write the CRD. Ends with one line if the argument isn't such a file."""
    try:
        (file,) = arguments
        fields = pod_spec(json.loads(Path(file).read_text(encoding="utf-8")))
    except (ValueError, OSError, KeyError):
        sys.exit("crds/generate.py needs a FILE with the output of kubectl get --raw /openapi/v3/api/v1")
    DEFINITION.write_text(definition(DEFINITION.read_text(encoding="utf-8"), fields), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
