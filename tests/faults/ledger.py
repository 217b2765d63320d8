"""What became of each job, judged by what its handlers wrote down and by what the engine remembers."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from rochallor_worker.devengine.model import EngineState

What = Literal["begin", "end", "raise"]

NOTES = """
import os

def note(what, job):
    with open("runs", "a") as file:
        file.write(f"{what} {os.getpid()} {job.instance_id} {job.id}\\n")
"""
"""Python for handlers: `note("begin", job)`, then `note("end", job)` or `note("raise", job)`."""


@dataclass(frozen=True)
class Note:
    """A run of a job began, ended well, or raised."""

    what: What
    process: int
    instance: str
    job: str


def notes(folder: Path) -> list[Note]:
    """All that handlers noted in a folder so far, in order."""
    path = folder / "runs"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [Note(what, int(process), instance, job) for what, process, instance, job in lines]  # type: ignore[arg-type]


def judge(
    state: EngineState, noted: list[Note], *, steps: int, retries: int, victims: Collection[int]
) -> dict[str, int]:
    """Count what `Jobs` counts. Each instance has so many steps, and each job so many retries.

    `victims`: processes that were killed, or stood still past the lease of what they ran.
    """
    planned = len(state.instances) * steps
    ended = {note.job for note in noted if note.what == "end"}
    done = sum(job.status == "COMPLETED" and job.id in ended for job in state.jobs.values())
    made_twice = len(state.jobs) - planned
    owed, doubled = _second_runs(noted, victims)
    raised = Counter(note.job for note in noted if note.what == "raise")
    return {
        "jobs": planned,
        "lost": max(0, planned - done),
        "owed": owed,
        "doubled": doubled + max(0, made_twice),
        "retries": sum(max(0, retries - job.retries_remaining - raised[job.id]) for job in state.jobs.values()),
        "disordered": _disordered(noted, {job.id: job.number for job in state.jobs.values()}, victims),
    }


def _second_runs(noted: Iterable[Note], victims: Collection[int]) -> tuple[int, int]:
    """Runs of a job after another of its runs that did not raise: owed to a victim, and called for by nothing."""
    owed = doubled = 0
    last: dict[str, Note] = {}
    for note in noted:
        before = last.get(note.job)
        if note.what == "begin" and before is not None and before.what != "raise":
            owed += before.process in victims
            doubled += before.process not in victims
        if note.what == "begin" or (before is not None and before.process == note.process):
            last[note.job] = note
    return owed, doubled


def _disordered(noted: Iterable[Note], numbers: Mapping[str, int], victims: Collection[int]) -> int:
    """Runs that began while another job of their instance ran, or after a later one had begun."""
    found = 0
    running: defaultdict[str, set[str]] = defaultdict(set)
    latest: dict[str, int] = {}
    for note in noted:
        if note.what != "begin":
            running[note.instance].discard(note.job)
            continue
        number = numbers[note.job]
        repeated = number <= latest.get(note.instance, -1)
        found += bool(running[note.instance] - {note.job}) or (repeated and number < latest[note.instance])
        latest[note.instance] = max(number, latest.get(note.instance, -1))
        if note.process not in victims:
            running[note.instance].add(note.job)
    return found
