"""Checks GitHub's workflows: nothing else runs them before they are needed."""

from __future__ import annotations

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
