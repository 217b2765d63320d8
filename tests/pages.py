"""The commands that a page of the documentation prints, run as they stand there.

The ```sh blocks of a section are what a reader types, one after another in one shell; a ```text block that follows one
is what it prints. Other blocks are only looked at.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END_OF_STEP = "\x1e"


@cache
def has_section(page: str) -> bool:
    """Whether docs/ has a page, and the page the section after its #, if any."""
    name, _, anchor = page.partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.MULTILINE)
    return not anchor or anchor in {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


class Step(NamedTuple):
    """Commands, and what they print on standard output; None where the page doesn't say."""

    commands: str
    printed: str | None


def steps(page: str, heading: str) -> list[Step]:
    """The steps below a second-level heading of docs/`page`."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"{page} has no section {heading!r}"
    blocks = BLOCK.findall(rest.partition("\n## ")[0])
    following = [*blocks[1:], ("", "")]
    return [
        Step(code, text if kind == "text" else None)
        for (language, code), (kind, text) in zip(blocks, following, strict=True)
        if language == "sh"
    ]


def run(todo: Sequence[Step], environment: Mapping[str, str], *, inside: Sequence[str] = (), limit: float) -> None:
    """Run steps in one shell in the repository, which ends at the first command that fails, `limit` seconds at most.

    `inside` is a command that runs another one in surroundings of its own. What the steps leave running is ended.
    """
    script = "".join(f"{step.commands}printf '{END_OF_STEP}'\n" for step in todo)
    with TemporaryFile("w+") as output, TemporaryFile("w+") as complaint:
        command = [*inside, "bash", "-e", "-c", script]
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=complaint, start_new_session=True
        ) as shell:
            with suppress(subprocess.TimeoutExpired):
                shell.wait(limit)
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
        output.seek(0)
        complaint.seek(0)
        *printed, rest = output.read().split(END_OF_STEP)
        assert len(printed) == len(todo), f"{todo[len(printed)].commands}stopped with:\n{rest}{complaint.read()}"
    for step, text in zip(todo, printed, strict=True):
        assert step.printed in {None, text}, f"{step.commands}printed:\n{text}"
