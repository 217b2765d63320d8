"""What a run of a handler changes, as far as it can be seen: its HTTP requests, and what files and commands show."""

import hashlib
import re
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from rochallor_worker.errors import StartError

COMMAND_SECONDS = 20.0
"""How long a command that shows effects may take."""
REPEATABLE = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}
"""Methods that may be repeated: twice has the effect of once (RFC 9110, 9.2.2)."""
_SQLITE = b"SQLite format 3\0"
_SIDE_FILES = ("-journal", "-wal", "-shm")
_ID = re.compile(r"[^/]*\d[^/]*")


class Line(NamedTuple):
    """One line that a watched file or command shows."""

    source: str
    text: str


Snapshot = Counter[Line]


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a handler to another service; `status` is None if it was not answered."""

    method: str
    url: str
    digest: str
    """Of the body, short."""
    key: str
    """The Idempotency-Key, if it has one."""
    status: int | None

    @property
    def label(self) -> str:
        """What counts as the same kind of request: the method and the URL, without the query and without ids."""
        parts = urlsplit(self.url)
        return f"{self.method} {parts.scheme}://{parts.netloc}{_ID.sub('*', parts.path)}"

    @property
    def has_effect(self) -> bool:
        """Whether it counts as an effect: it may not be repeated, and the service has not refused it."""
        return self.method not in REPEATABLE and (self.status is None or self.status < 400)


def digest(body: bytes) -> str:
    """Return a short hash of a body."""
    return hashlib.sha256(body).hexdigest()[:8]


@dataclass(frozen=True)
class Watched:
    """What is looked at before and after each run. Lines that contain one of the texts in `ignored` do not count."""

    paths: Sequence[Path] = ()
    """Files, and folders of files. SQLite databases are read as rows."""
    commands: Sequence[str] = ()
    """Shell commands that print one effect per line."""
    ignored: Sequence[str] = ()

    def snapshot(self) -> Snapshot:
        """Return the lines that there are now. Raises `StartError` if something cannot be read."""
        found = Counter(line for path in self.paths for line in _shown(path))
        found.update(line for command in self.commands for line in _printed(command))
        return Counter(
            {line: count for line, count in found.items() if not self.ignores(f"{line.source}: {line.text}")}
        )

    def ignores(self, text: str) -> bool:
        """Whether an effect does not count."""
        return any(part in text for part in self.ignored)


def _shown(path: Path) -> Iterator[Line]:
    """Yield the lines of a file, of each table of a database, or of a folder: names in it may hold keys."""
    if not path.is_dir():
        if path.exists() and not path.is_file():  # a device or a pipe may never end
            raise StartError(f"--watch {path} cannot be read: it is no file and no folder")
        for part, text in _lines(path):
            yield Line(f"{path}{part}", text)
        return
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.endswith(_SIDE_FILES):
            for part, text in _lines(file):
                yield Line(str(path), f"{file.relative_to(path)}{part}: {text}")


def _lines(file: Path) -> list[tuple[str, str]]:
    """Return each line of a file, with the table it is in if that is a database. A file that is not there has none."""
    try:
        content = file.read_bytes()
        if content.startswith(_SQLITE):
            return [(f" {table}", row) for table, row in _rows(file)]
    except FileNotFoundError:
        return []
    except (OSError, sqlite3.Error) as error:
        raise StartError(f"--watch {file} cannot be read: {error}") from error
    return [("", line) for line in content.decode(errors="backslashreplace").splitlines()]


def _rows(file: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return [
            (table, ", ".join(map(repr, row)))
            for (table,) in tables
            for row in database.execute(f"SELECT * FROM {_quoted(table)}")  # noqa: S608
        ]


def _quoted(table: str) -> str:
    return '"' + table.replace('"', '""') + '"'


def _printed(command: str) -> list[Line]:
    try:
        done = subprocess.run(  # noqa: S603 — the user's own command
            ["/bin/sh", "-c", command],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartError(f"--effects {command!r}: {error}") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise StartError(f"--effects {command!r} ended with status {done.returncode}: {reason[0]}")
    return [Line(f"`{command}`", line) for line in done.stdout.splitlines()]
