"""`rochallor-worker init`: a small handler project to start from."""

import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from rochallor_worker.errors import StartError

NEXT = """
Now run, in three terminals in {folder}:
  rochallor-worker dev-engine
  ROCHALLOR_ENGINE_URL=http://127.0.0.1:8080 rochallor-worker run handlers:registry
  python start.py"""
"""What to run in the folder of a new project."""

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,53}[a-z0-9])?")


def _suggestion(name: str) -> str:
    """Return the nearest valid name, or nothing."""
    lowered = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:55].strip("-")
    return lowered if _NAME.fullmatch(lowered) else ""


def create(folder: Path) -> list[Path]:
    """Write the files of a project named after `folder` into it; return them.

    Raises `StartError` if the name cannot be a Kubernetes name, or a file already exists.
    """
    name = folder.resolve().name
    if not _NAME.fullmatch(name):
        better = _suggestion(name)
        raise StartError(
            f"{name!r} cannot name a worker: must be up to 55 of a-z, 0-9 and '-', beginning with a letter and"
            " ending with a letter or digit" + (f"; try {better}" if better else "")
        )
    sources = [entry for entry in files("rochallor_worker.cli").joinpath("template").iterdir() if entry.is_file()]
    if taken := sorted(entry.name for entry in sources if (folder / entry.name).exists()):
        raise StartError(f"{folder} already has {', '.join(taken)}; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for entry in sorted(sources, key=lambda source: source.name):
        text = entry.read_text(encoding="utf-8")
        if not entry.name.endswith(".py"):  # Python code has its own braces, and needs no name
            text = text.replace("{name}", name).replace("{version}", version("rochallor-worker"))
        path = folder / entry.name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
