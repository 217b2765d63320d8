"""The parts of the CRD that the charts repeat, and the output of `helm show values`."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rochallor_operator.spec.worker import parse

CHARTS = Path(__file__).parents[3] / "charts"


def test_the_generated_files_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate", CHARTS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for file, content in generate.FILES.items():
        assert file.read_text() == content(), "run: make charts"


def test_every_value_of_the_operator_has_a_comment() -> None:
    """Inside of `resources` the quantities speak for themselves; labels are the user's."""
    lines = (CHARTS / "rochallor-operator" / "values.yaml").read_text().splitlines()
    values = [number for number, line in enumerate(lines) if re.match(r" {0,2}\w+:", line)]
    assert len(values) > 20
    assert [lines[number] for number in values if not lines[number - 1].lstrip().startswith("# ")] == []


@pytest.mark.parametrize("chart", ["rochallor-operator", "rochallor-worker"])
def test_the_schema_knows_the_type_and_the_meaning_of_every_value(chart: str) -> None:
    """Values whose keys the schema names allow no others, so that typos are found."""

    def gaps(path: str, field: dict[str, Any]) -> list[str]:
        found = [path] if {"type", "anyOf"}.isdisjoint(field) or "description" not in field else []
        closed = "properties" not in field or field["additionalProperties"] is False
        inner = [gap for name, one in field.get("properties", {}).items() for gap in gaps(f"{path}.{name}", one)]
        return found + ([] if closed else [f"{path} is open"]) + inner

    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    assert schema["properties"].pop("global") == {"type": "object"}, "Helm's own"
    assert len(schema["properties"]) > 20
    assert gaps("values", schema | {"description": "all"}) == []


def test_the_schema_of_the_operator_has_the_values() -> None:
    def paths(value: Any, field: dict[str, Any], path: str = "") -> list[str]:
        return [
            named
            for name, inner in (value.items() if "properties" in field else ())
            for named in [f"{path}{name}", *paths(inner, field["properties"].get(name, {}), f"{path}{name}.")]
        ]

    def names(field: dict[str, Any], path: str = "") -> list[str]:
        inner = field.get("properties", {}).items()
        return [named for name, one in inner for named in [f"{path}{name}", *names(one, f"{path}{name}.")]]

    operator = CHARTS / "rochallor-operator"
    schema = json.loads((operator / "values.schema.json").read_text())
    values = yaml.safe_load((operator / "values.yaml").read_text())
    assert sorted(paths(values, schema)) == sorted(set(names(schema)) - {"global"})


@pytest.mark.parametrize("chart", ["rochallor-operator", "rochallor-worker"])
def test_artifact_hub_can_read_what_is_said_for_it(chart: str) -> None:
    said = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["annotations"]
    lists = {name: yaml.safe_load(said.get(f"artifacthub.io/{name}", "[]")) for name in ("crds", "crdsExamples")}
    crds = [yaml.safe_load(file.read_text()) for file in (CHARTS.parent / "crds").glob("*.yaml")]
    installed = {
        (crd["metadata"]["name"], served["name"], crd["spec"]["names"]["kind"])
        for crd in crds
        for served in crd["spec"]["versions"]
    }
    known = {(crd["name"], crd["version"], crd["kind"]) for crd in lists["crds"]}
    assert known == (installed if chart == "rochallor-operator" else set())
    for example in lists["crdsExamples"]:
        parse(example | {"metadata": example["metadata"] | {"namespace": "shop", "uid": "1", "generation": 1}})


def test_the_values_of_a_worker_set_nothing() -> None:
    assert yaml.safe_load((CHARTS / "rochallor-worker" / "values.yaml").read_text()) is None
