"""The judge of the matrix detects broken promises."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from faults.ledger import Note, Row, judge
from faults.result import Jobs, broken, together, with_second_runs
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.model import EngineState
from unit.worker.engines import definition

if TYPE_CHECKING:
    from collections.abc import Callable

    from rochallor_worker.devengine.records import Generation, Job

RETRIES = 2
LIVING, VICTIM = 1, 2


class Play:
    """An engine with one instance of two steps, and what workers do to it."""

    def __init__(self, generation: Generation) -> None:
        self.state = EngineState(generation=generation)
        steps = definition("a", "a", retries=RETRIES)
        self.state.definitions.upload(msgspec.convert(steps, Definition))
        self.instance = self.state.start("d")
        self.notes: list[Note] = []
        self.victims: dict[int, int] = {}
        self.taken: set[str] = set()

    def attempts(self, step: int = 0) -> list[Job]:
        """Return the rows of a step's job."""
        return [job for job in self.state.jobs.values() if job.execution is self.instance.history[step]]

    def note(self, what: Any, process: int = LIVING, step: int = 0) -> None:
        self.notes.append(Note(what, process, self.instance.id, self.instance.history[step].id))

    def complete(self, step: int, process: int = LIVING) -> None:
        self.note("begin", process, step)
        self.note("end", process, step)
        self.state.complete(self.attempts(step)[-1].id, "w")

    def fail(self, process: int = LIVING) -> None:
        self.note("begin", process)
        self.note("raise", process)
        self.state.fail(self.attempts()[-1].id, "w", "not yet", retryable=True)

    def hurt(self) -> None:
        self.victims[VICTIM] = len(self.notes)

    def figures(self) -> dict[str, int]:
        rows = [
            Row(job.execution.id, job.number, job.retries_remaining, job.execution.status == "COMPLETED")
            for job in self.state.jobs.values()
        ]
        found = judge(rows, self.notes, planned=2, retries=RETRIES, victims=self.victims, taken=self.taken)
        return {name: figure for name, figure in found.items() if figure and name != "jobs"}


def well(play: Play) -> None:
    play.fail()
    play.complete(0)
    play.complete(1)


def lost(play: Play) -> None:
    play.complete(0)


def never_run(play: Play) -> None:
    play.complete(0)
    play.state.complete(play.attempts(1)[0].id, "w")


def run_again(play: Play) -> None:
    play.note("begin")
    play.note("end")
    well(play)


def run_twice_at_once(play: Play) -> None:
    play.note("begin", VICTIM)  # which was not marked as one
    well(play)


def run_again_after_a_kill(play: Play) -> None:
    play.note("begin", VICTIM)
    play.hurt()
    play.complete(0)
    play.complete(1)


def run_again_after_a_cancellation(play: Play) -> None:
    play.note("begin")
    play.note("stop")
    well(play)


def run_again_when_taken_away(play: Play) -> None:
    play.taken.add(play.instance.history[0].id)
    run_again_after_a_cancellation(play)


def dropped(play: Play) -> None:
    """A Complete that a fencing engine answers and drops."""
    play.note("begin")
    play.note("end")
    play.state.poll("w", ["a"], 1)
    play.state.complete(play.attempts()[0].id, "another")


def failed_twice(play: Play) -> None:
    play.state.fail(play.attempts()[0].id, "w", "not yet", retryable=True)
    well(play)


def failed_late(play: Play) -> None:
    play.note("begin", VICTIM)
    play.hurt()
    play.fail()
    play.complete(0)
    play.note("raise", VICTIM)
    play.state.fail(play.attempts()[0].id, "w", "not yet", retryable=True)
    play.complete(0)
    play.complete(1)


def failed_just_before_a_kill(play: Play) -> None:
    play.fail(VICTIM)
    play.hurt()
    play.fail()
    play.complete(0)
    play.note("begin")
    play.note("end")
    play.complete(1)


def moved_on_twice(play: Play) -> None:
    at_once = [play.state.completing(play.attempts()[0].id, "w") for _ in range(2)]
    play.note("begin")
    play.note("end")
    for complete in at_once:
        next(complete, None)  # a fenced engine completes here
    for complete in at_once:
        list(complete)
    play.complete(1)


def out_of_order(play: Play) -> None:
    play.note("begin")
    play.state.complete(play.attempts()[0].id, "w")
    play.complete(1)
    play.note("end")


BOTH = [
    (well, {}),
    (lost, {"lost": 1}),
    (never_run, {"lost": 1}),
    (run_again, {"duplicates": 1}),
    (run_twice_at_once, {"duplicates": 1}),
    (run_again_after_a_kill, {"owed": 1}),
    (run_again_after_a_cancellation, {"duplicates": 1}),
    (run_again_when_taken_away, {"owed": 1}),
    (failed_twice, {"retries": 1}),
    (failed_just_before_a_kill, {"owed": 1}),
    (out_of_order, {"disordered": 1}),
]


@pytest.mark.parametrize("generation", ["A", "fenced"])
@pytest.mark.parametrize(("act", "figures"), BOTH)
def test_a_judgement(act: Callable[[Play], None], figures: dict[str, int], generation: Generation) -> None:
    play = Play(generation)
    act(play)
    assert play.figures() == figures


@pytest.mark.parametrize(
    ("act", "unfenced", "fenced"),
    [
        (
            failed_late,
            {"owed": 1, "duplicates": 2, "retries": 1},
            {"owed": 1, "duplicates": 1},
        ),  # moved on again, or not
        (moved_on_twice, {"duplicates": 1}, {}),
        (dropped, {"lost": 1}, {"lost": 2}),  # the job itself, beside the one that never began
    ],
)
def test_a_judgement_of_what_fenced_engines_drop(
    act: Callable[[Play], None], unfenced: dict[str, int], fenced: dict[str, int]
) -> None:
    for generation, figures in (("A", unfenced), ("fenced", fenced)):
        play = Play(cast("Generation", generation))
        act(play)
        assert play.figures() == figures


def test_plays_add_up_and_the_longest_time_counts() -> None:
    calm = Jobs(recovery_s=1.0, jobs=2, lost=0, owed=1, duplicates=0, retries=0, disordered=0)
    worse = replace(calm, recovery_s=3.0, lost=1, overdrawn=1, drain_s=2.0)
    both = together([calm, worse, calm])
    assert both == replace(worse, jobs=6, owed=3)
    assert broken(both) == ["no job lost", "bounded drain"]
    assert broken(calm) == []


def test_a_fault_that_takes_no_job_is_not_kept() -> None:
    missed = Jobs(recovery_s=1.0, jobs=2, lost=0, owed=0, duplicates=0, retries=0, disordered=0)
    assert with_second_runs(replace(missed, owed=1)).owed == 1
    with pytest.raises(AssertionError, match="met no job"):
        with_second_runs(missed)
