"""The version: one everywhere, and changed everywhere by one command."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITH_VERSION = (
    "worker",
    "operator",
    "charts",
    "crds",
    "examples",
    "docs",
    ".github",
    *(file.name for file in ROOT.iterdir() if file.is_file() and file.name != "release.py"),
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of this checkout could name the version, with a CHANGELOG of our own."""
    for name in ("release.py", *WITH_VERSION):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## unreleased\n\n- New.\n\n## 0.0.9 — 2026-01-01\n\n- Old.\n"
    )
    return tmp_path


def today() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"


def release(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "release.py", *arguments], cwd=checkout, capture_output=True, text=True, check=False
    )


def test_the_packages_have_the_version_of_the_files(checkout: Path) -> None:
    own = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert own is not None
    assert version("rochallor-worker") == version("rochallor-operator") == own[1]
    # the changelog has no section of that name yet, but all other files agree
    assert release(checkout, "check", own[1]).stderr == f"release: CHANGELOG.md has no section '## {own[1]} — DATE'\n"


def test_a_release_changes_the_version_everywhere(checkout: Path) -> None:
    began = today()
    done = release(checkout, "prepare", "7.8.9")
    days = {began, today()}  # midnight may be in between
    assert done.returncode == 0, done.stderr
    assert release(checkout, "check", "7.8.9").returncode == 0
    assert release(checkout, "notes", "7.8.9").stdout == "- New.\n"
    changelog = (checkout / "CHANGELOG.md").read_text()
    assert any(f"## 7.8.9 — {day}\n" in changelog for day in days)
    assert release(checkout, "notes", "0.0.9").stdout == "- Old.\n"
    old = re.compile(rf"(?<![\d.]){re.escape(version('rochallor-worker'))}(?![\d.])")
    forgotten = [
        f"{file.relative_to(checkout)}: {line}"
        for file in checkout.rglob("*")
        if file.is_file() and file.name not in {"CHANGELOG.md", "uv.lock"}
        for line in file.read_text(errors="replace").splitlines()
        if old.search(line)
    ]
    assert forgotten == []


def test_a_file_that_says_something_else_is_named(checkout: Path) -> None:
    chart = checkout / "charts" / "rochallor-worker" / "Chart.yaml"
    chart.write_text(re.sub(r"^appVersion: .*$", "appVersion: 5.5.5", chart.read_text(), flags=re.MULTILINE))
    own = version("rochallor-worker")
    expected = f"release: charts/rochallor-worker/Chart.yaml says 5.5.5, pyproject.toml {own}: run make release\n"
    assert release(checkout, "check", own).stderr == expected


@pytest.mark.parametrize(
    ("arguments", "changelog", "sentence"),
    [
        (("prepare", "1.0"), "## unreleased\n", "a version must have three numbers, such as 1.4.0; is '1.0'"),
        (
            ("prepare", "7.8.9"),
            "## 0.0.9 — 2026-01-01\n",
            "CHANGELOG.md has 0 headings of the form '## … unreleased', must have one",
        ),
        (("check", "7.8.9"), "", f"the files say {version('rochallor-worker')}, the release is 7.8.9"),
        (("notes", "7.8.9"), "## 7.8.9 — unreleased\n", "CHANGELOG.md has no section '## 7.8.9 — DATE'"),
    ],
)
def test_what_is_no_release_is_refused_and_nothing_is_written(
    checkout: Path, arguments: tuple[str, str], changelog: str, sentence: str
) -> None:
    (checkout / "CHANGELOG.md").write_text(changelog)
    before = {file: file.read_bytes() for file in checkout.rglob("*") if file.is_file()}
    done = release(checkout, *arguments)
    assert (done.returncode, done.stderr) == (1, f"release: {sentence}\n")
    assert {file: file.read_bytes() for file in checkout.rglob("*") if file.is_file()} == before
