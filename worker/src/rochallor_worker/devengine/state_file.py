"""The file that keeps an engine's state while no engine runs: an SQLite database with a row for each record.

What a call has changed is written in one transaction before it is answered, so a killed process loses nothing that it
had answered. The operating system is not asked to write it to disk at once: a power failure may damage the file.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from rochallor_worker.devengine.errors import CallError, InternalError
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.model.rows import row
from rochallor_worker.devengine.records import Kind
from rochallor_worker.errors import StartError

APPLICATION_ID = 0x726F6368
"""Tells state files from other SQLite databases."""
FORMAT = 1

_WRONG = (
    *(sqlite3.Error, msgspec.MsgspecError, CallError, LookupError),
    *(TypeError, ValueError, AttributeError, RecursionError),
)
"""What records that make no sense raise."""
_CREATE = "CREATE TABLE record (number INTEGER PRIMARY KEY, kind TEXT, id TEXT, row TEXT, UNIQUE (kind, id))"
_PUT = "INSERT INTO record (kind, id, row) VALUES (?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET row = excluded.row"
_REMOVE = "DELETE FROM record WHERE kind = ? AND id = ?"


class StateFile:
    """An open state file, which no other process can open. `changed` collects records, and `commit` writes them."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database
        self._changed: dict[tuple[Kind, str], Any] = {}

    def restore(self, state: EngineState) -> None:
        """Put all records into an empty state. Raises `StartError` if the file is damaged."""
        try:
            for kind, text in self._database.execute("SELECT kind, row FROM record ORDER BY number"):
                state.restore(kind, text.encode())
        except _WRONG:
            raise _damaged(self._path) from None
        self._changed.clear()

    def changed(self, kind: Kind, record_id: str, record: Any) -> None:
        """Remember a record that was added or changed, or with None removed, for the next `commit`."""
        self._changed[kind, record_id] = record

    def commit(self) -> None:
        """Write what has changed.

        Raises `InternalError` if that fails, such as on a full disk; what has changed is then written by a later one.
        """
        if not self._changed:
            return
        try:
            with self._database as database:
                database.execute("BEGIN")
                for (kind, record_id), record in self._changed.items():
                    if record is None:
                        database.execute(_REMOVE, (kind, record_id))
                    else:
                        database.execute(_PUT, (kind, record_id, row(record).decode()))
        except sqlite3.Error as error:
            raise InternalError(f"the state file {self._path} cannot be written: {error}") from error
        self._changed.clear()


@contextmanager
def opened(path: Path) -> Iterator[StateFile]:
    """Open a state file, or create one, until the block ends.

    Raises `StartError` if that is impossible, another process has it open, or it is another kind of file.
    """
    try:
        path.open("ab").close()  # says better than SQLite why it cannot be opened
        database = sqlite3.connect(path, isolation_level=None, timeout=0)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartError(f"the state file {path} cannot be opened: {reason}") from None
    with closing(database):
        _lock(path, database)
        yield StateFile(path, database)


def _lock(path: Path, database: sqlite3.Connection) -> None:
    """Keep other processes out, and create the table in a new file."""
    try:
        for pragma in ("locking_mode = EXCLUSIVE", "synchronous = OFF"):
            database.execute(f"PRAGMA {pragma}")
        with database:
            database.execute("BEGIN EXCLUSIVE")
            if _number(database, "SELECT count(*) FROM sqlite_master") == 0:
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {FORMAT}")
                database.execute(_CREATE)
            elif _number(database, "PRAGMA application_id") != APPLICATION_ID:
                raise _foreign(path)
            elif (found := _number(database, "PRAGMA user_version")) != FORMAT:
                raise StartError(f"the state file {path} has format {found}, this version reads format {FORMAT}")
    except UnicodeDecodeError:  # SQLite's own message has the damaged bytes
        raise _damaged(path) from None
    except sqlite3.Error as error:
        match error.sqlite_errorname:
            case "SQLITE_BUSY":
                raise StartError(f"the state file {path} is in use by another process") from None
            case "SQLITE_NOTADB":
                raise _foreign(path) from None
            case "SQLITE_CORRUPT":
                raise _damaged(path) from None
        raise StartError(f"the state file {path} cannot be used: {error}") from None


def _number(database: sqlite3.Connection, query: str) -> int:
    [number] = database.execute(query).fetchone()
    return int(number)


def _foreign(path: Path) -> StartError:
    return StartError(f"{path} is not a state file: name a new file, or one that dev-engine --state has written")


def _damaged(path: Path) -> StartError:
    return StartError(f"the state file {path} is damaged: remove it to start with an empty engine")
