"""The journal's lines, in a file that survives any end of the process, in a folder for one process.

A line is written at once and not fsynced: a pod's emptyDir does not survive its machine anyway.
"""

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from rochallor_worker.errors import StartError
from rochallor_worker.logger import get_logger

COMPACT_BYTES = 4 * 1024 * 1024
"""The file is rewritten with what still matters once it has grown by this much."""

log = get_logger(__name__)


class JournalFile:
    """The file in `folder`; `content` returns what it must hold when it is rewritten.

    `rewrite` must be called first. Raises `StartError` when another process uses the folder.
    """

    def __init__(self, folder: Path, content: Callable[[], bytes]) -> None:
        self.errors = 0
        """Lines that could not be written."""
        self._path = folder / "journal.jsonl"
        self._content = content
        self._lock = _lock(folder)
        self._file = -1
        self._torn = False
        """Whether a line is missing or incomplete: the file must be rewritten."""
        self._grown = 0

    def read(self) -> list[bytes]:
        """Return the lines of an earlier process."""
        try:
            return self._path.read_bytes().splitlines() if self._path.exists() else []
        except OSError as error:
            aside = self._path.with_suffix(".unreadable")
            log.error("the journal cannot be read and is put aside", file=str(aside), error=str(error))
            with contextlib.suppress(OSError):
                self._path.replace(aside)
            return []

    def append(self, line: bytes) -> None:
        """Add a line; `content` includes it already."""
        if self._torn:
            self.rewrite()
            return
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self._failed(error)
            return
        self._grown += written
        if written < len(line):  # a full disk takes what still fits
            self._failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        elif self._grown > COMPACT_BYTES:
            self.rewrite()

    def rewrite(self) -> None:
        """Replace the file with one that has the content; a crash in between leaves the old one."""
        self._grown = 0
        content = self._content()
        fresh = self._path.with_suffix(".new")
        try:
            # readable for its owner only, since it holds variables of jobs; never through a link
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as new:
                new.write(content)
            fresh.replace(self._path)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        except OSError as error:
            self._failed(error)
            return
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        if self._torn and content:  # an empty file fits on a full disk too
            log.info("the journal can be written again")
            self._torn = False

    def close(self) -> None:
        """Leave the file and the folder to the next process."""
        if self._file >= 0:
            os.close(self._file)
        os.close(self._lock)

    def _failed(self, error: OSError) -> None:
        if not self._torn:
            log.error("the journal cannot be written; after a crash, jobs may run again", error=str(error))
        self._torn = True
        self.errors += 1


def _lock(folder: Path) -> int:
    try:
        import fcntl  # noqa: PLC0415 — handlers can be tested on systems without it
    except ImportError as error:
        needs = "a journal needs file locks, which this system does not have"
        raise StartError(f"ROCHALLOR_JOURNAL_DIR: {needs}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartError(f"ROCHALLOR_JOURNAL_DIR: cannot use {str(folder)!r}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StartError(f"ROCHALLOR_JOURNAL_DIR: another worker uses {str(folder)!r}; give each its own") from error
    return lock
