"""What the charts repeat of the resource definition."""

from __future__ import annotations

import importlib.util
from pathlib import Path

CHARTS = Path(__file__).parents[3] / "charts"


def test_the_generated_files_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate", CHARTS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for file, content in generate.FILES.items():
        assert file.read_text() == content(), "run: make charts"
