"""The parts of the CRD that the charts repeat, and the output of `helm show values`."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import yaml

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


def test_the_values_of_a_worker_set_nothing() -> None:
    assert yaml.safe_load((CHARTS / "rochallor-worker" / "values.yaml").read_text()) is None
