"""The judge of the matrix sees what breaks a promise."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from faults.ledger import Note, judge
from faults.result import Jobs, bitten, broken, together
from rochallor_worker.devengine.definition import Definition
from rochallor_worker.devengine.model import EngineState
from unit.worker.engines import definition

if TYPE_CHECKING:
    from collections.abc import Callable

RETRIES = 2
LIVING, VICTIM = 1, 2


class Play:
    """An engine with one instance of two steps, and what workers do to it."""

    def __init__(self) -> None:
        self.state = EngineState()
        steps = definition("a", "a", retries=RETRIES)
        self.state.definitions.upload(msgspec.convert(steps, Definition))
        self.instance = self.state.start("d").id
        self.notes: list[Note] = []
        self.victims: dict[int, int] = {}

    def note(self, what: Any, process: int = LIVING, step: int = 0) -> None:
        self.notes.append(Note(what, process, self.instance, list(self.state.jobs)[step]))

    def complete(self, step: int, process: int = LIVING) -> None:
        self.note("begin", process, step)
        self.note("end", process, step)
        self.state.complete(list(self.state.jobs)[step], "w")

    def fail(self, process: int = LIVING) -> None:
        self.note("begin", process)
        self.note("raise", process)
        self.state.fail(next(iter(self.state.jobs)), "w", "not yet", retryable=True)

    def hurt(self) -> None:
        self.victims[VICTIM] = len(self.notes)

    def figures(self) -> dict[str, int]:
        found = judge(self.state, self.notes, steps=2, retries=RETRIES, victims=self.victims)
        return {name: figure for name, figure in found.items() if figure and name != "jobs"}


def well(play: Play) -> None:
    play.fail()
    play.complete(0)
    play.complete(1)


def lost(play: Play) -> None:
    play.complete(0)


def never_run(play: Play) -> None:
    play.complete(0)
    play.state.complete(list(play.state.jobs)[1], "w")


def run_again(play: Play) -> None:
    play.note("begin")
    play.note("end")
    well(play)


def run_twice_at_once(play: Play) -> None:
    play.note("begin", VICTIM)  # which nothing has hurt
    well(play)


def run_again_after_a_kill(play: Play) -> None:
    play.note("begin", VICTIM)
    play.hurt()
    play.complete(0)
    play.complete(1)


def failed_twice(play: Play) -> None:
    play.state.fail(next(iter(play.state.jobs)), "w", "not yet", retryable=True)
    well(play)


def failed_late(play: Play) -> None:
    play.note("begin", VICTIM)
    play.hurt()
    play.fail()
    play.complete(0)
    play.note("raise", VICTIM)
    play.state.fail(next(iter(play.state.jobs)), "w", "not yet", retryable=True)
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
    at_once = [play.state.completing(next(iter(play.state.jobs)), "w") for _ in range(2)]
    play.note("begin")
    play.note("end")
    for complete in at_once:
        next(complete)
    for complete in at_once:
        list(complete)
    play.complete(1)


def out_of_order(play: Play) -> None:
    play.note("begin")
    play.state.complete(next(iter(play.state.jobs)), "w")
    play.complete(1)
    play.note("end")


@pytest.mark.parametrize(
    ("act", "figures"),
    [
        (well, {}),
        (lost, {"lost": 1}),
        (never_run, {"lost": 1}),
        (run_again, {"doubled": 1}),
        (run_twice_at_once, {"doubled": 1}),
        (run_again_after_a_kill, {"owed": 1}),
        (failed_twice, {"retries": 1}),
        (failed_late, {"owed": 1, "doubled": 2, "retries": 1}),  # run again, and moved on again
        (failed_just_before_a_kill, {"owed": 1}),
        (moved_on_twice, {"doubled": 1}),
        (out_of_order, {"disordered": 1}),
    ],
)
def test_a_judgement(act: Callable[[Play], None], figures: dict[str, int]) -> None:
    play = Play()
    act(play)
    assert play.figures() == figures


def test_plays_add_up_and_the_longest_time_counts() -> None:
    calm = Jobs(recovery_s=1.0, jobs=2, lost=0, owed=1, doubled=0, retries=0, disordered=0)
    worse = replace(calm, recovery_s=3.0, lost=1, overdrawn=1, drain_s=2.0)
    both = together([calm, worse, calm])
    assert both == replace(worse, jobs=6, owed=3)
    assert broken(both) == ["no job lost", "bounded drain"]
    assert broken(calm) == []


def test_a_fault_that_takes_no_job_is_not_kept() -> None:
    missed = Jobs(recovery_s=1.0, jobs=2, lost=0, owed=0, doubled=0, retries=0, disordered=0)
    assert bitten(replace(missed, owed=1)).owed == 1
    with pytest.raises(AssertionError, match="met no job"):
        bitten(missed)
