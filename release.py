"""`python release.py prepare | check | notes VERSION`: manages the version, which many files repeat.

`prepare` writes it everywhere and heads the unreleased changes in the CHANGELOG with it and today's date; `check` fails
unless the files are those of a release; `notes` prints its section of the CHANGELOG.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent
VERSION = r"\d+\.\d+\.\d+"
UNRELEASED = re.compile(r"^## .*\bunreleased$", re.MULTILINE)
PROJECT = rf'^version = "({VERSION})"$'
CHART = rf"^(?:version|appVersion): ({VERSION})$"
LOCK = rf'^name = "rochallor(?:-worker|-operator)?"\nversion = "({VERSION})"$'
# an image, a Python package, a chart
NAMED = rf"\brochallor-(?:worker|operator)(?::|==| --version[ =])({VERSION})\b"
PLACES = {
    "pyproject.toml": PROJECT,
    "worker/pyproject.toml": PROJECT,
    "operator/pyproject.toml": PROJECT,
    "uv.lock": LOCK,
    "charts/*/Chart.yaml": CHART,
    "examples/**/*.yaml": NAMED,
    "examples/**/Dockerfile": NAMED,
    "README.md": NAMED,
    "docs/**/*.md": NAMED,
}
"""Files that repeat the version → its pattern there. The first one is authoritative."""


class ReleaseError(Exception):
    """Why the release is not possible, in one sentence."""


def version(root: Path = ROOT) -> str:
    """Return the version of the checkout in `root`. Raises ReleaseError unless all files agree on it."""
    found = {(file, match[1]) for file, pattern in _places(root) for match in pattern.finditer(file.read_text())}
    [own] = re.findall(PROJECT, (root / "pyproject.toml").read_text(), re.MULTILINE)
    for file, other in sorted(found):
        if other != own:
            raise ReleaseError(f"{file.relative_to(root)} says {other}, pyproject.toml {own}: run make release")
    return str(own)


def prepare(new: str, today: datetime.date, root: Path = ROOT) -> None:
    """Write the version `new` to all files of the checkout in `root`. On a ReleaseError nothing is written."""
    if not re.fullmatch(VERSION, new):
        raise ReleaseError(f"a version must have three numbers, such as 1.4.0; is {new!r}")
    changelog = root / "CHANGELOG.md"
    text, sections = UNRELEASED.subn(f"## {new} — {today}", changelog.read_text())
    if sections != 1:
        raise ReleaseError(f"CHANGELOG.md has {sections} headings of the form '## … unreleased', must have one")
    for file, pattern in _places(root):
        file.write_text(pattern.sub(lambda match: match[0].replace(match[1], new), file.read_text()))
    changelog.write_text(text)


def check(released: str, root: Path = ROOT) -> None:
    """Raise ReleaseError unless the checkout in `root` is the release `released`."""
    own = version(root)
    if own != released:
        raise ReleaseError(f"the files say {own}, the release is {released}")
    notes(released, root)


def notes(released: str, root: Path = ROOT) -> str:
    """Return the CHANGELOG's section of a release. Raises ReleaseError if it has no dated one."""
    heading = rf"^## {re.escape(released)} — \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)"
    found = re.search(heading, (root / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise ReleaseError(f"CHANGELOG.md has no section '## {released} — DATE'")
    return found[1].strip()


def _places(root: Path) -> list[tuple[Path, re.Pattern[str]]]:
    return [(file, re.compile(pattern, re.MULTILINE)) for place, pattern in PLACES.items() for file in root.glob(place)]


def main() -> None:
    """Run a command; exit with 1 and one sentence if it is not possible."""
    parser = argparse.ArgumentParser(prog="release.py", description=__doc__)
    parser.add_argument("command", choices=("prepare", "check", "notes"))
    parser.add_argument("version", metavar="VERSION", help="three numbers, such as 1.4.0")
    asked = parser.parse_args()
    try:
        match asked.command:
            case "prepare":
                prepare(asked.version, datetime.datetime.now(datetime.UTC).date())
            case "check":
                check(asked.version)
            case "notes":
                print(notes(asked.version))
    except ReleaseError as error:
        sys.exit(f"release: {error}")


if __name__ == "__main__":
    main()
