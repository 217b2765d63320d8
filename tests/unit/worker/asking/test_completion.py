"""The shells' completion, which typer makes from the parser."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from rochallor_worker.cli.main import app

SHELLS = pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])


def completed(shell: str, line: str) -> str:
    words = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    environment = {"_ROCHALLOR_WORKER_COMPLETE": f"complete_{shell}", **words}
    return CliRunner().invoke(app, env=environment, prog_name="rochallor-worker").stdout


@SHELLS
def test_commands_options_and_values_are_completed(shell: str) -> None:
    assert "failures" in completed(shell, "rochallor-worker fail")
    assert "history" in completed(shell, "rochallor-worker instances h")
    assert "--business-key" in completed(shell, "rochallor-worker instances list --bus")
    assert "CANCELLED" in completed(shell, "rochallor-worker instances list --status CAN")


@SHELLS
def test_the_script_of_each_shell_is_printed(shell: str) -> None:
    assert "complete" in CliRunner().invoke(app, ["--show-completion", shell], prog_name="rochallor-worker").stdout


def test_completion_does_not_wait_for_what_only_commands_load() -> None:
    program = "import sys, rochallor_worker.cli.main; sys.exit(not {'aiohttp', 'pydantic'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
