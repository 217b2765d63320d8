"""The CRD of workers is written by hand; these tests keep it consistent with the code that reads it. Those of
connections repeat parts of it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from rochallor_operator.names import API_VERSION, KIND, PLURAL, SERVICE_SUFFIX, Manifest, account_name, service_name
from rochallor_operator.spec.sections import Brokers
from rochallor_operator.spec.worker import RESERVED_ENV, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
FILE = ROOT / "crds" / "rochallorworkers.rochallor.io.yaml"
CRD: Manifest = yaml.safe_load(FILE.read_text())
VERSION: Manifest = CRD["spec"]["versions"][0]
SPEC: Manifest = VERSION["schema"]["openAPIV3Schema"]["properties"]["spec"]
FILES = sorted(FILE.parent.glob("*.yaml"))


def _properties(schema: Manifest, path: str = "spec") -> Iterator[tuple[str, Manifest]]:
    if path == "spec.template.spec":
        return  # a PodSpec, which is generated
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from _properties(child, f"{path}.{name}")
    if "items" in schema:
        yield from _properties(schema["items"], f"{path}[]")


def test_the_names_are_those_of_the_code() -> None:
    assert f"{CRD['spec']['group']}/{VERSION['name']}" == API_VERSION
    assert (CRD["spec"]["names"]["kind"], CRD["spec"]["names"]["plural"]) == (KIND, PLURAL)


def _fields(model: Manifest, root: Manifest, path: str = "spec") -> Iterator[tuple[str, Manifest]]:
    """The fields of a pydantic model's JSON schema, including those of its sections."""
    for name, field in model["properties"].items():
        yield f"{path}.{name}", field
        for form in (field, field.get("items", {}), *field.get("anyOf", []), *field.get("allOf", [])):
            if "$ref" in form:
                inner = f"{path}.{name}" + ("[]" if form is field.get("items") else "")
                yield from _fields(root["$defs"][form["$ref"].rpartition("/")[2]], root, inner)


MODEL = Spec.model_json_schema()
FIELDS = dict(_fields(MODEL, MODEL))
OPAQUE = ("spec.resources.", "spec.env[].", "spec.envFrom[].", "spec.imagePullSecrets[].", "spec.template.")
"""Fields that the code passes on unchanged."""


def _understood(path: str) -> bool:
    return not path.startswith((*OPAQUE, "spec.autoscaling.behavior."))


def test_the_fields_are_those_of_the_code() -> None:
    assert {path for path, _ in _properties(SPEC) if _understood(path)} == set(FIELDS)


def test_the_defaults_are_those_of_the_code() -> None:
    defaults = {path: field["default"] for path, field in _properties(SPEC) if "default" in field}
    assert defaults == {path: FIELDS[path]["default"] for path in defaults}


def test_the_longest_name_of_every_child_is_a_label() -> None:
    longest = "a" * 55
    assert max(len(name) for name in (service_name(longest), account_name(longest))) == 63


def test_the_reserved_variables_are_those_of_the_code() -> None:
    rule = SPEC["properties"]["env"]["items"]["properties"]["name"]["x-kubernetes-validations"][0]["rule"]
    assert set(re.findall(r"ROCHALLOR_\w+", rule)) == RESERVED_ENV


def test_the_longest_name_leaves_room_for_the_service() -> None:
    rule = VERSION["schema"]["openAPIV3Schema"]["x-kubernetes-validations"][0]["rule"]
    longest = re.search(r"<= (\d+)", rule)
    assert longest is not None
    assert int(longest[1]) + len(SERVICE_SUFFIX) == 63


def _open(schema: Manifest, path: str = "spec") -> Iterator[str]:
    """Fields in which a user may write as much as fits into a request, or anything at all."""
    inner = {f".{name}": child for name, child in schema.get("properties", {}).items()}
    many = schema.get("items") or schema.get("additionalProperties")
    if isinstance(many, dict):
        inner["[]"] = many
    kind, either = schema.get("type"), schema.get("x-kubernetes-int-or-string", False)
    if schema.get("x-kubernetes-preserve-unknown-fields") or (kind == "object" and not inner):
        yield f"{path} takes anything"
    if (kind == "string" or either) and not schema.keys() & {"maxLength", "enum"}:
        yield f"{path} takes a text of any length"
    if kind == "array" and "maxItems" not in schema:
        yield f"{path} takes any number of items"
    if "additionalProperties" in schema and "maxProperties" not in schema:
        yield f"{path} takes any number of entries"
    for name, child in inner.items():
        yield from _open(child, path + name)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_nothing_in_a_spec_is_unbounded(file: Path) -> None:
    assert list(_open(_schema(file)["spec"])) == []


def _schema(file: Path) -> Manifest:
    (version,) = yaml.safe_load(file.read_text())["spec"]["versions"]
    parts: Manifest = version["schema"]["openAPIV3Schema"]["properties"]
    return parts


COUNTED = re.compile(r"pods?|jobs|seconds|percentage|generation|percent|number", re.IGNORECASE)
DURATION = re.compile(r"\b[0-9]+(ms|s|m|h)\b")


def _flaws(field: Manifest) -> Iterator[str]:
    """What is missing from a description, as `kubectl explain` shows neither defaults nor rules."""
    text: str = field.get("description", "")
    if not text.endswith(".") or len(text.split()) < 3:
        yield "is no sentence"
    if "default" in field and not text.endswith(f"Default {yaml.safe_dump(field['default']).splitlines()[0]}."):
        yield "does not end with its default"
    if field.get("type") == "integer" and not COUNTED.search(text):
        yield "does not say what it counts"
    rules = [rule["rule"] for rule in field.get("x-kubernetes-validations", [])]
    if any("(ms|s|m|h)" in rule for rule in rules) and not DURATION.search(text):
        yield "does not show a duration's form"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_description_is_a_sentence_with_default_and_unit(file: Path) -> None:
    schema = _schema(file)
    flaws = [
        f"{path} {flaw}: {field.get('description')}"
        for part in ("spec", "status")
        for path, field in _properties(schema[part], part)
        for flaw in _flaws(field)
    ]
    assert flaws == []


def test_the_crds_of_connections_are_up_to_date() -> None:
    module = importlib.util.spec_from_file_location("connections", ROOT / "crds" / "connections.py")
    assert module is not None
    assert module.loader is not None
    connections = importlib.util.module_from_spec(module)
    module.loader.exec_module(connections)
    files = connections.files()
    assert sorted([FILE, *files]) == FILES
    for file, text in files.items():
        assert file.read_text() == text, "run: make crd"


def _rules(schema: Manifest, path: str = "") -> Iterator[tuple[str, Manifest]]:
    """Every field with what the API server checks of it, without the texts for people."""
    yield path, {name: value for name, value in schema.items() if name not in {"description", "properties", "items"}}
    for name, inner in schema.get("properties", {}).items():
        yield from _rules(inner, f"{path}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


SECTIONS = {
    "engine": SPEC["properties"]["engine"],
    "kafka": SPEC["properties"]["kafka"],
    "prometheus": SPEC["properties"]["autoscaling"]["properties"]["prometheus"],
    "telemetry": SPEC["properties"]["telemetry"],
}
OF_THE_WORKER = {".kafka.dedupWindow", ".kafka.deadLetter", ".kafka.groupProtocol", ".kafka.createTopics"}


@pytest.mark.parametrize("name", ["engineconnections", "clusterengineconnections"])
def test_what_a_connection_says_is_written_as_in_a_worker(name: str) -> None:
    """The same fields with the same rules, in the same form; only what a section must have is more."""
    of_worker = dict(rule for section, schema in SECTIONS.items() for rule in _rules(schema, f".{section}"))
    spec = _schema(FILE.with_name(f"{name}.rochallor.io.yaml"))["spec"]
    of_connection = {path: rules for path, rules in _rules(spec) if path.startswith(tuple(f".{s}" for s in SECTIONS))}
    left_out = of_worker.keys() - of_connection.keys()
    assert {".".join(path.split(".")[:3]) for path in left_out} == OF_THE_WORKER
    for path in (".engine", ".kafka"):
        more, rules = (every.pop(path)["x-kubernetes-validations"] for every in (of_connection, of_worker))
        assert {rule["message"] for rule in rules} <= {rule["message"] for rule in more}
    assert of_connection == {path: rules for path, rules in of_worker.items() if path not in left_out}
    kafka = {field.alias for field in Brokers.model_fields.values()}
    assert spec["properties"]["kafka"]["properties"].keys() == kafka, "what the operator takes from a connection"
    assert spec["required"] == (["engine"] if name.startswith("e") else ["namespaceSelector", "engine"])
