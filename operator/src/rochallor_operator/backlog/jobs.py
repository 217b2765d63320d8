"""What a database says about a job type, and which types nobody serves (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

WAITED_S: Final = 60.0
"""How long the oldest job of a type must have waited to count as unserved: other workers than ours may take it."""


class Jobs(NamedTuple):
    """The jobs of a type: how many wait, how many run, and for how many seconds the oldest waiting one has existed."""

    waiting: int = 0
    running: int = 0
    age: float = 0.0


def unserved(found: Mapping[str, Jobs], listed: Collection[str]) -> dict[str, Jobs]:
    """The types whose jobs have waited for a while, although nobody lists them, in the order of their names."""
    return {
        job_type: jobs
        for job_type, jobs in sorted(found.items())
        if jobs.waiting and jobs.age >= WAITED_S and job_type not in listed
    }
