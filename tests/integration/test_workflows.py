"""Checks GitHub's workflows: nothing else runs them before they are needed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cluster import programs

WORKFLOWS = Path(__file__).parents[2] / ".github" / "workflows"


@pytest.fixture
def actionlint() -> str:
    """The program that checks workflows."""
    return programs.tool("actionlint")


def test_they_have_no_visible_mistake(actionlint: str) -> None:
    files = sorted(str(file) for file in WORKFLOWS.glob("*.yml"))
    assert len(files) >= 2
    done = subprocess.run(
        [actionlint, "-shellcheck=", "-pyflakes=", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_action_is_pinned_to_a_commit() -> None:
    """A tag can be moved; a comment names the version that the commit is."""
    uses = [line for file in WORKFLOWS.glob("*.yml") for line in file.read_text().splitlines() if " uses: " in line]
    others = [line for line in uses if " uses: ./" not in line]
    assert len(others) > 20
    assert [line for line in others if not re.search(r" uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
