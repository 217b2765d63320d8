"""The site is built strictly and needs nothing from elsewhere; links outside it lead somewhere, too."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from pages import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
OUTSIDE = sorted(
    chain(
        ROOT.glob("*.md"), *(ROOT.joinpath(part).rglob("*.md") for part in ("charts", "examples", "worker", "operator"))
    )
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
LOADED = re.compile(r'<(?:script|img|iframe|source)[^>]*\ssrc="?(?:https?:)?//|<link[^>]*\shref="?(?:https?:)?//')


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", f"--site-dir={tmp_path}"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "smtplib" in (tmp_path / "handlers" / "index.html").read_text(), "code is read from the examples"
    html = list(tmp_path.rglob("*.html"))
    assert len(html) >= len(PAGES)
    assert [page.relative_to(tmp_path) for page in html if LOADED.search(page.read_text())] == []


def _links(page: Path) -> Iterator[str]:
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("https://", "http://", "mailto:", "#")):
            yield target.partition("#")[0]


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_outside_the_site_leads_to_a_file(page: Path) -> None:
    assert [target for target in _links(page) if not (page.parent / target).exists()] == []
