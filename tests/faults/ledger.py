"""What became of each job, judged by what its handlers wrote down and by what the engine remembers."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from rochallor_worker.devengine.model import EngineState

NOTES = """
import os
_ledger = os.open("ledger", os.O_WRONLY)

def note(what, job):
    os.write(_ledger, f"{what} {os.getpid()} {job.instance_id} {job.id}\\n".encode())
"""
"""Python for handlers: `note("begin", job)`, then `note("end", job)` or `note("raise", job)`."""


What = Literal["begin", "end", "raise"]


class Note(NamedTuple):
    """A run of a job began, ended well, or raised."""

    what: What
    process: int
    instance: str
    job: str


class Ledger:
    """What handlers noted so far, in order. A pipe, since a disk may be full; it outlives whoever writes."""

    def __init__(self, folder: Path) -> None:
        self.notes: list[Note] = []
        self._rest = b""
        os.mkfifo(folder / "ledger")
        self._pipe = os.open(folder / "ledger", os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._pipe, self.read)

    def read(self) -> None:
        """Take in what was noted by now."""
        with suppress(BlockingIOError):
            *lines, self._rest = (self._rest + os.read(self._pipe, 2**20)).split(b"\n")
            for line in lines:
                what, process, instance, job = line.decode().split()
                self.notes.append(Note(cast("What", what), int(process), instance, job))

    def close(self) -> None:
        """Take in no more."""
        asyncio.get_running_loop().remove_reader(self._pipe)
        os.close(self._pipe)


def judge(
    state: EngineState, noted: list[Note], *, steps: int, retries: int, victims: Mapping[int, int]
) -> dict[str, int]:
    """Count what `Jobs` counts. Each instance has so many steps, each job so many retries, of which it may ask for one.

    `victims`: processes that were killed, or stood still past the lease of what they ran → how many notes there were
    by then. What one of them had failed just before may be failed once more, and run for it, since over Kafka nobody
    can know that it was: that too is owed to the fault.
    """
    planned = len(state.instances) * steps
    ended = {note.job for note in noted if note.what == "end"}
    done = sum(job.status == "COMPLETED" and job.id in ended for job in state.jobs.values())
    owed, doubled = _second_runs(noted, victims)
    failed = Counter({note.job for note in noted if note.what == "raise"})
    failed += _failed_before(noted, victims)
    return {
        "jobs": planned,
        "lost": max(0, planned - done),
        "owed": owed,
        "doubled": doubled + max(0, len(state.jobs) - planned),
        "retries": sum(max(0, retries - job.retries_remaining - failed[job.id]) for job in state.jobs.values()),
        "disordered": _disordered(noted, {job.id: job.number for job in state.jobs.values()}, victims),
    }


def _failed_before(noted: list[Note], victims: Mapping[int, int]) -> Counter[str]:
    """How often a job was failed by a victim before the fault."""
    return Counter(
        note.job for at, note in enumerate(noted) if note.what == "raise" and at < victims.get(note.process, 0)
    )


def _second_runs(noted: list[Note], victims: Mapping[int, int]) -> tuple[int, int]:
    """Runs of a job after another of its runs that did not raise: owed to a victim, and called for by nothing."""
    owed = doubled = 0
    last: dict[str, Note] = {}
    failed = _failed_before(noted, victims)
    for note in noted:
        before = last.get(note.job)
        if note.what == "begin" and before is not None and before.what != "raise":
            if before.process in victims:
                owed += 1
            elif failed[note.job]:
                failed[note.job] -= 1
                owed += 1
            else:
                doubled += 1
        if note.what == "begin" or (before is not None and before.process == note.process):
            last[note.job] = note
    return owed, doubled


def _disordered(noted: Iterable[Note], numbers: Mapping[str, int], victims: Collection[int]) -> int:
    """Runs that began while another job of their instance ran, or for the first time after a later one had begun."""
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
