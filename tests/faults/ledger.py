"""What happened to each job, judged by the handlers' notes and the engine's records.

A job is identified by its key, the step execution: on fenced engines each attempt has an id of its own. A job is done
when its step is, not when a Complete was answered: an engine may answer one and drop it.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

NOTES = """
import os
_ledger = os.open("ledger", os.O_WRONLY)

def note(what, job):
    os.write(_ledger, f"{what} {os.getpid()} {job.instance_id} {job.key}\\n".encode())
"""
"""Python for handlers: `note("begin", job)`, then `note("end", job)`, or "raise", or "stop"."""


What = Literal["begin", "end", "raise", "stop"]


class Note(NamedTuple):
    """A run of a job began, ended, raised, or was cancelled."""

    what: What
    process: int
    instance: str
    job: str
    """The key."""


class Row(NamedTuple):
    """The engine's record of one attempt at a job, or on generation A of all attempts."""

    job: str
    """The key."""
    number: int
    """Its position in the order of creation."""
    retries_remaining: int
    done: bool
    """Whether the job's step is completed."""


class Ledger:
    """The handlers' notes so far, in order. They come through a pipe: a disk may be full, and writers may die."""

    def __init__(self, folder: Path) -> None:
        self.notes: list[Note] = []
        self._rest = b""
        os.mkfifo(folder / "ledger")
        self._pipe = os.open(folder / "ledger", os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._pipe, self.read)

    def read(self) -> None:
        """Read the notes written by now."""
        with suppress(BlockingIOError):
            *lines, self._rest = (self._rest + os.read(self._pipe, 2**20)).split(b"\n")
            for line in lines:
                what, process, instance, job = line.decode().split()
                self.notes.append(Note(cast("What", what), int(process), instance, job))

    def close(self) -> None:
        """Stop reading."""
        asyncio.get_running_loop().remove_reader(self._pipe)
        os.close(self._pipe)


def judge(
    rows: Collection[Row],
    noted: list[Note],
    *,
    planned: int,
    retries: int,
    victims: Mapping[int, int],
    taken: Collection[str] = (),
) -> dict[str, int]:
    """Count what `Jobs` counts. `planned` jobs have `retries` retries each; a handler's failure may spend one.

    `victims`: processes that were killed, or frozen past the lease of their jobs → how many notes there were by then.
    A job that one of them had failed just before may be run and failed once more, since over Kafka the failure may be
    unknown: that too is caused by the fault. `taken`: jobs that the fault took from their workers.
    """
    numbers: dict[str, int] = {}
    remaining: dict[str, int] = {}
    for row in rows:
        numbers[row.job] = min(row.number, numbers.get(row.job, row.number))
        remaining[row.job] = min(row.retries_remaining, remaining.get(row.job, retries))
    ended = {note.job for note in noted if note.what == "end"}
    done = {row.job for row in rows if row.done} & ended
    owed, duplicates = _second_runs(noted, victims, taken)
    failed = Counter({note.job for note in noted if note.what == "raise"})
    failed += _failed_before(noted, victims)
    return {
        "jobs": planned,
        "lost": max(0, planned - len(done)),
        "owed": owed,
        "duplicates": duplicates + max(0, len(numbers) - planned),
        "retries": sum(max(0, retries - left - failed[job]) for job, left in remaining.items()),
        "disordered": _disordered(noted, numbers, victims),
    }


def _failed_before(noted: list[Note], victims: Mapping[int, int]) -> Counter[str]:
    """Return how often victims had failed each job before the fault."""
    return Counter(
        note.job for at, note in enumerate(noted) if note.what == "raise" and at < victims.get(note.process, 0)
    )


def _second_runs(noted: list[Note], victims: Mapping[int, int], taken: Collection[str]) -> tuple[int, int]:
    """Count runs of a job after a run that did not raise: those caused by the fault, and the duplicates."""
    owed = duplicates = 0
    last: dict[str, Note] = {}
    failed = _failed_before(noted, victims)
    for note in noted:
        before = last.get(note.job)
        if note.what == "begin" and before is not None and before.what != "raise":
            if before.process in victims or note.job in taken:
                owed += 1
            elif failed[note.job]:
                failed[note.job] -= 1
                owed += 1
            else:
                duplicates += 1
        if note.what == "begin" or (before is not None and before.process == note.process):
            last[note.job] = note
    return owed, duplicates


def _disordered(noted: Iterable[Note], numbers: Mapping[str, int], victims: Collection[int]) -> int:
    """Count runs that began while another job of the instance ran, or for the first time after a later job's."""
    found = 0
    running: defaultdict[str, set[str]] = defaultdict(set)
    begun: defaultdict[str, set[str]] = defaultdict(set)
    for note in noted:
        if note.what != "begin":
            running[note.instance].discard(note.job)
            continue
        known = begun[note.instance]
        late = note.job not in known and any(numbers[other] > numbers[note.job] for other in known)
        found += late or bool(running[note.instance] - {note.job})
        known.add(note.job)
        if note.process not in victims:
            running[note.instance].add(note.job)
    return found
