"""The reference pages agree with the code."""

import importlib.util

import pytest

from pages import ROOT

DOCS = ROOT / "docs"


async def test_generated_files_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for file, content in generate.files().items():
        assert file.read_text() == content, "run: make docs"
