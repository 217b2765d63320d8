"""What this worker was doing, kept in a folder that outlives the process: for the time after a crash.

One line of JSON per step of a job: started, decided (with the outcome), settled. After a restart

- a decided Complete is sent again, without running the handler again (a second Complete is a no-op, engine.md);
- a decided Fail is sent when the job comes back with its retries unspent, which proves that it did not arrive;
- a job that was found started and undecided `MAX_CRASHES` times killed its worker each time: when it comes again it is
  failed for good, since a lease that runs out spends no retry and it would come back for ever. Before its last chance
  nobody knows which of the jobs that ran together it was: those are then run one at a time.

A line is handed to the kernel at once and not fsynced: that survives the end of the process by any means; the end of
the machine takes a pod's emptyDir with it anyway. A folder that cannot be written costs these promises, never a job.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from rochallor_worker.engine.base import UNREADABLE, ClaimedJob
from rochallor_worker.errors import StartError
from rochallor_worker.outcome import Completed, Failed, Outcome

MAX_CRASHES = 3
"""How often a job may take its worker down with it."""
KEEP_SECONDS = 24 * 3600.0
"""A job that has not come again for so long is forgotten."""
COMPACT_BYTES = 4 * 1024 * 1024
"""The file is rewritten with what still matters when it has grown by this much."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class _Entry(msgspec.Struct, omit_defaults=True):
    """What is known of one job that is not settled; also one line of the file."""

    job: str
    at: float = 0.0
    crashes: int = 0
    running: bool = False
    settled: bool = False
    decided: bool = False
    job_type: str = ""
    variables: msgspec.Raw = msgspec.Raw()
    message: str = ""
    retryable: bool | None = None
    retries_remaining: int = 0

    @property
    def matters(self) -> bool:
        return self.running or self.decided or self.crashes > 0

    def outcome(self) -> Outcome:
        if self.retryable is None:
            return Completed(msgspec.json.decode(self.variables, type=dict[str, Any]))
        return Failed(self.message, self.retryable)


class Journal:
    """The journal in `folder`; without one nothing is written and nothing survives.

    `clock` gives epoch seconds. Raises `StartError` when another process uses the folder.
    """

    def __init__(self, folder: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.errors = 0
        """Lines that could not be written."""
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._file = -1
        self._torn = False
        """Whether the file lacks a line or ends in half of one: it must be rewritten."""
        self._path = folder / "journal.jsonl" if folder else None
        self._grown = 0
        if folder is not None:
            self._lock = _lock(folder)
            self._recover()

    def __len__(self) -> int:
        """Return the number of jobs that are remembered."""
        return len(self._entries)

    @property
    def unsent_completes(self) -> list[tuple[str, str, Completed]]:
        """Completes that were decided before the restart and may not have reached the engine: job id, type, outcome."""
        found = ((entry.job, entry.job_type, entry.outcome()) for entry in self._entries.values() if entry.decided)
        return [(job_id, job_type, outcome) for job_id, job_type, outcome in found if isinstance(outcome, Completed)]

    def recall(self, job: ClaimedJob) -> Outcome | None:
        """Return the outcome to deliver for a claimed job in place of a run, if its past calls for one."""
        entry = self._entries.get(job.id)
        if entry is None:
            return None
        if entry.decided and entry.retryable is None:
            return entry.outcome()
        if entry.decided:
            # an arrived Fail has spent a retry; with the retries unspent it did not arrive, and we hold the lease anew
            return entry.outcome() if entry.retries_remaining == job.retries_remaining else None
        if entry.crashes >= MAX_CRASHES:
            return Failed(f"killed its worker {entry.crashes} times", retryable=False)
        return None

    def suspects(self, job_id: str) -> bool:
        """Whether one more end of the worker would be held against this job."""
        entry = self._entries.get(job_id)
        return entry is not None and not entry.decided and entry.crashes == MAX_CRASHES - 1

    def started(self, job: ClaimedJob) -> None:
        """Note that a handler starts."""
        known = self._entries.get(job.id)
        crashes = known.crashes if known is not None else 0
        self._note(_Entry(job.id, self._clock(), crashes, running=True))

    def decided(self, job: ClaimedJob, outcome: Outcome) -> None:
        """Note an outcome before it is sent."""
        entry = _Entry(
            job.id, self._clock(), decided=True, job_type=job.job_type, retries_remaining=job.retries_remaining
        )
        match outcome:
            case Completed(variables):
                entry.variables = msgspec.Raw(msgspec.json.encode(variables))
            case Failed(message, retryable):
                entry.message, entry.retryable = message, retryable
        self._note(entry)

    def settled(self, job_id: str) -> None:
        """Note that the engine has taken an outcome, or never will: the job is forgotten."""
        if self._entries.pop(job_id, None) is not None:
            self._write(_Entry(job_id, settled=True))

    def close(self) -> None:
        """End in order: what still runs is cut off on purpose and was not killed by its job."""
        for entry in self._entries.values():
            entry.running = False
        if self._path is not None:
            self._compact()
            if self._file >= 0:
                os.close(self._file)
            os.close(self._lock)
            self._path = None

    def _note(self, entry: _Entry) -> None:
        if self._path is not None:
            self._entries[entry.job] = entry
            self._write(entry)

    def _write(self, entry: _Entry) -> None:
        if self._torn:
            self._compact()  # it has this entry too
            return
        line = msgspec.json.encode(entry) + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self._failed(error)
            return
        self._grown += written
        if written < len(line):  # a disk takes what still fits
            self._failed(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        elif self._grown > COMPACT_BYTES:
            self._compact()

    def _recover(self) -> None:
        assert self._path is not None  # noqa: S101 — the caller's condition
        try:
            lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        except OSError as error:
            aside = self._path.with_suffix(".unreadable")
            log.error("the journal cannot be read and is put aside", file=str(aside), error=str(error))
            with contextlib.suppress(OSError):
                self._path.replace(aside)
            lines = []
        unreadable: list[bytes] = []
        for line in lines:
            try:
                entry = msgspec.json.decode(line, type=_Entry)
                if entry.decided:
                    entry.outcome()
            except UNREADABLE:
                unreadable.append(line)
                continue
            if entry.settled:
                self._entries.pop(entry.job, None)
            else:
                self._entries[entry.job] = entry
        if unreadable:
            first = unreadable[0][:100].decode(errors="replace")
            log.warning("the journal has lines that cannot be read", lines=len(unreadable), first=first)
        for entry in self._entries.values():
            if entry.running:
                entry.running = False
                entry.crashes += 1
                log.warning("the worker ended while it ran this job", job_id=entry.job, times=entry.crashes)
        self._compact()

    def _compact(self) -> None:
        """Rewrite the file with what is not settled; a crash in between leaves the old one."""
        assert self._path is not None  # noqa: S101 — the caller's condition
        self._grown = 0
        oldest = self._clock() - KEEP_SECONDS
        self._entries = {job: entry for job, entry in self._entries.items() if entry.matters and entry.at > oldest}
        lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in self._entries.values())
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_bytes(lines)
            fresh.replace(self._path)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            self._failed(error)
            return
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        if self._torn and lines:  # an empty file finds room on a full disk too
            log.info("the journal can be written again")
            self._torn = False

    def _failed(self, error: OSError) -> None:
        if not self._torn:
            log.error("the journal cannot be written; after a crash, jobs may run again", error=str(error))
        self._torn = True
        self.errors += 1


def _lock(folder: Path) -> int:
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
