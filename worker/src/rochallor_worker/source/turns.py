"""Which job types the next poll asks for, and for how many jobs (pure).

The engine gives the oldest jobs first, over all types of a poll together (engine.md): a flood of one type would keep
the others waiting for as long as it lasts. So a type with more jobs than were asked for, a backlogged one, is polled
for alone, the one that got least first. All others share a poll, as all do while no type is backlogged.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

QUIET_GAP = 0.1
"""Most seconds between two polls for the types that are not backlogged, while others are."""


class Turns:
    """Takes turns between job types. `room` says how many jobs of a type may be asked for; times are in seconds."""

    def __init__(self, job_types: Sequence[str], room: Callable[[str], int]) -> None:
        self._job_types = job_types
        self._room = room
        self._served: dict[str, float] = {}
        """Jobs that each backlogged type got since it is one, on top of what the one that had got least had by then."""
        self._asked: Counter[str] = Counter()
        """How many jobs of each type the polls in flight ask for."""
        self._quiet_at = -math.inf
        self._quiet_last = False
        """Whether the last poll was for the quiet types: with polls that take longer than the gap, all would be."""

    @property
    def hurried(self) -> bool:
        """Whether a backlogged type has room: it can be polled for at once."""
        return any(self._room(job_type) > 0 for job_type in self._served)

    def backlogged(self, job_type: str) -> bool:
        """Whether the engine had more jobs of a type than were asked for."""
        return job_type in self._served

    def next(self, free: int, now: float) -> tuple[list[str], int]:
        """Return the types to ask for and how many of their jobs, `free` at most; none if no type has room.

        A type that is not backlogged is in one poll at a time; for those that are, what is asked for counts as got.
        """
        room = {job_type: self._room(job_type) for job_type in self._job_types}
        quiet = [
            job_type
            for job_type in self._job_types
            if job_type not in self._served and room[job_type] > 0 and not self._asked[job_type]
        ]
        backlogged = [job_type for job_type in self._served if room[job_type] > 0]
        if quiet and (not backlogged or (now - self._quiet_at >= QUIET_GAP and not self._quiet_last)):
            self._quiet_at, self._quiet_last = now, True
            share = math.ceil(free / (len(backlogged) + 1))  # so that a backlogged type can be polled for meanwhile
            return quiet, min(share, *(room[job_type] for job_type in quiet))
        if not backlogged:
            return [], 0
        self._quiet_last = False
        least = min(backlogged, key=lambda job_type: self._served[job_type] + self._asked[job_type])
        return [least], min(room[least], max(1, math.ceil(free / len(backlogged))))

    def ask(self, job_types: Iterable[str], count: int) -> None:
        """Note that a poll asks for `count` jobs of these types; -count once it has ended."""
        for job_type in job_types:
            self._asked[job_type] += count

    def answered(self, asked: Sequence[str], count: int, got: Iterable[str]) -> None:
        """Note the answer to a poll for `count` jobs: the types of the jobs that came."""
        came = Counter(got)
        if came.total() < count:  # the engine has no more of these
            for job_type in asked:
                self._served.pop(job_type, None)
            return
        for job_type in filter(came.get, asked):  # what was not asked for gets no turn
            if job_type not in self._served:
                self._served[job_type] = min(self._served.values(), default=0.0)
            self._served[job_type] += came[job_type]
