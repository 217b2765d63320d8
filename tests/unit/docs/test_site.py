"""The site builds strictly and loads nothing from other hosts; links work in the repository, too."""

import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from pages import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))
FOLDERS = ("docs", "charts", "examples", "worker", "operator")
FILES = sorted(chain(ROOT.glob("*.md"), *((ROOT / folder).rglob("*.md") for folder in FOLDERS)))
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
LOADED = re.compile(r'<(?:script|img|iframe|source)[^>]*\ssrc="?(?:https?:)?//|<link[^>]*\shref="?(?:https?:)?//')


def test_the_site_builds_without_a_warning_and_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    built = subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", f"--site-dir={tmp_path}"],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    handlers = (tmp_path / "handlers" / "index.html").read_text()
    assert '<span class="nn">smtplib</span>' in handlers, "code is shown as code"
    assert "```" not in handlers
    html = list(tmp_path.rglob("*.html"))
    assert len(html) >= len(PAGES)
    assert [page.relative_to(tmp_path) for page in html if LOADED.search(page.read_text())] == []


def _anchors(page: Path) -> set[str]:
    """The anchors that a repository's web page gives to a file's headings."""
    headings = HEADING.findall(CODE.sub("", page.read_text()))
    texts = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def _leads(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    return file.exists() and (not anchor or anchor in _anchors(file))


@pytest.mark.parametrize("page", FILES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_file_and_a_heading_of_the_repository(page: Path) -> None:
    links = LINK.findall(CODE.sub("", page.read_text()))
    own = [target for target in links if not target.startswith(("https://", "http://", "mailto:"))]
    assert [target for target in own if not _leads(page, target)] == []
