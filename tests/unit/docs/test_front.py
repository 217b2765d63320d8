"""The front page: its figures are those of the last run, its recording is of the demo, its texts stand once."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from mkdocs.config.defaults import MkDocsConfig

from bench import sdk
from faults import figures, page
from faults.figures import Row
from faults.result import Jobs
from pages import ROOT

DOCS = ROOT / "docs"
TABLE = re.compile(r"<!-- figures: front -->\n\n(.*?)\n<!-- end -->", re.DOTALL)


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of docs/, which is no package."""
    monkeypatch.syspath_prepend(DOCS)
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_first_page_and_the_readme_have_the_five_rows_of_the_last_run(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = module("compared", monkeypatch)
    tables = [TABLE.findall((ROOT / file).read_text()) for file in ("README.md", "docs/index.md")]
    assert tables[0] == tables[1]
    assert len(tables[0][0].splitlines()) == 2 + 5
    changed = compared.with_figures("<!-- figures: front -->\nold\n<!-- end -->")
    assert TABLE.findall(changed) == tables[0]


def test_a_run_of_the_comparison_is_kept_as_the_pages_show_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sdk, "FILE", tmp_path / "sdk.json")
    ours, theirs = [sdk.Round(rate, 0.2, 0.0234) for rate in (900, 2000, 1000)], [sdk.Round(125.4, 0.9, 1.51)] * 3
    sdk.write({who: ours if who.sdk_options is None else theirs for who in sdk.CONTESTANTS})
    compared = module("compared", monkeypatch)
    page = compared.measured(json.loads(sdk.FILE.read_text()))
    assert "The median of 3 rounds" in page
    assert page.splitlines()[4:7] == [
        "| this worker | 1,000 jobs/s (900–2,000) | 1 | 0.023 s |",
        "| SDK 1.1.0 | 125 jobs/s (125–125) | 4.5 | 1.5 s |",
        "| SDK 1.1.0, `poll_interval=0.01` | 125 jobs/s (125–125) | 4.5 | 1.5 s |",
    ]


def test_the_recording_shows_what_the_demo_prints_each_line_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = module("recording", monkeypatch)
    drawn = recording.draw(
        [recording.Line(2, "a <b>\n"), recording.Line(3, "\n"), recording.Line(8, "\x1b[32m300\x1b[0m")]
    )
    assert re.findall(r'animation-delay:([\d.]+)s.*?<text[^>]*?(?: class="(\w+)")?>(.*?)</text>', drawn) == [
        ("1.00", "", "a &lt;b&gt;"),
        ("4.00", "green", "300"),
    ]
    kept = recording.FILE.read_text()
    demo = (ROOT / "worker" / "src" / "rochallor_worker" / "cli" / "demo.py").read_text()
    for text in ("in the right state", " retries reported by hello-ship", "must be"):
        assert text in demo
        assert text in kept


def test_the_guarantees_are_those_of_the_last_run() -> None:
    assert page.PAGE_FILE.read_text() == page.text(figures.load()), "run: make docs"


def test_a_mark_says_whether_a_promise_was_kept_on_all_engines() -> None:
    good = Jobs(recovery_s=1, jobs=9, lost=0, owed=0, duplicates=0, retries=0, disordered=0)
    caused = Jobs(recovery_s=1, jobs=9, lost=0, owed=2, duplicates=0, retries=0, disordered=0, drain_s=1)
    broken = Jobs(recovery_s=1, jobs=9, lost=1, owed=0, duplicates=0, retries=0, disordered=0)
    rows = [Row("cut", "A", 1, good), Row("cut", "D", 1, broken), Row("kill", "A", 1, caused)]
    assert page.marks(rows).splitlines()[2:] == [
        "| cut | A D | ✗ | ✓ | ✓ | ✓ | – | ✓ |",
        "| kill | A | ✓ | ○ | ✓ | ✓ | ✓ | ✓ |",
    ]


def test_the_site_links_to_the_repository_once_its_address_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hooks = module("hooks", monkeypatch)
    known = tomllib.loads((ROOT / "worker" / "pyproject.toml").read_text())["project"].get("urls", {})
    assert hooks.on_config(MkDocsConfig()).repo_url == known.get("Repository")
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "pyproject.toml").write_text('[project.urls]\nRepository = "https://code.example.com/a/b"\n')
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    config = hooks.on_config(MkDocsConfig())
    assert (config.repo_url, config.repo_name) == ("https://code.example.com/a/b", "code.example.com/a/b")
