"""Boundary timers, set when their step is entered and never withdrawn, and their durations.

Contract: `workflow.md`, "Timers".
"""

import re
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from rochallor_worker.devengine.definition import BoundaryEvent
from rochallor_worker.devengine.records import Changed, Instance, StepExecution

_PART = re.compile(r"(\d*\.?\d*)([^\d.])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0}
_LONGEST = 292 * 365 * 86400.0
"""In seconds: as much as Go's durations hold."""

INTERRUPTED = "interrupted by boundary timer"
"""The failure reason of a step that a timer interrupted."""


class Timer(NamedTuple):
    """A timer of one entry into a step. `due` is epoch seconds."""

    due: float
    instance: Instance
    execution: StepExecution
    number: int
    """Which of its step's events it is, from 0."""

    @property
    def id(self) -> str:
        """The same for no other timer."""
        return f"{self.execution.id} {self.number}"

    @property
    def event(self) -> BoundaryEvent:
        """What happens when it fires."""
        return (self.instance.definition.step(self.execution.step_id).boundary_events or [])[self.number]


class Timers:
    """The timers that have not fired."""

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._number = 0
        self._waiting: list[tuple[float, int, Timer]] = []

    def add(self, timer: Timer) -> None:
        """Set a timer."""
        self._number += 1
        heappush(self._waiting, (timer.due, self._number, timer))
        self._changed("timer", timer.id, timer)

    @property
    def next_due(self) -> float | None:
        """When the next one is due; None if there is none."""
        return self._waiting[0][0] if self._waiting else None

    def take_due(self, now: float) -> Iterator[Timer]:
        """Remove and return the due ones, by time; those set while they fire are not among them."""
        due = []
        while self._waiting and self._waiting[0][0] <= now:
            due.append(heappop(self._waiting)[2])
            self._changed("timer", due[-1].id, None)
        return iter(due)


def seconds_of(duration: str) -> float:
    """Return a duration in seconds, read as the engine does: not quite ISO 8601.

    Only hours, minutes and seconds count, with or without `T`, so `P1M` is a minute. Raises `ValueError` with the
    engine's text for an invalid duration or one of 0.
    """
    designated, parts = duration[:1] == "P", duration[1:].removeprefix("T")
    if not designated or not parts:
        raise ValueError(f'invalid ISO-8601 duration: "{duration}"')
    total = 0.0
    for number, letter in _PART.findall(parts):
        if letter in _SECONDS and number.strip("."):
            total += float(number) * _SECONDS[letter]
    if not 0 < total <= _LONGEST:
        raise ValueError(f'invalid or zero ISO-8601 duration: "{duration}"')
    return total
