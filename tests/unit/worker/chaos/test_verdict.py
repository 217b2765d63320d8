"""The judgement over simulated handlers, whose double effects are known."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.chaos.effects import Line, Request, Snapshot
from rochallor_worker.chaos.verdict import Run, Usual, twice, usual

Kind = Literal["append", "count", "post", "keyed post"]
KINDS: tuple[Kind, ...] = ("append", "count", "post", "keyed post")


class World:
    """What handlers change."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.counter = 0
        self.moment = 0

    def snapshot(self) -> Snapshot:
        return Counter([Line("log", text) for text in self.lines] + [Line("counter", str(self.counter))])

    def now(self) -> int:
        self.moment += 1
        return self.moment

    def run(self, key: str, effects: Sequence[Kind], *, mended: bool, done: set[tuple[str, int]], upto: int) -> Run:
        """Run a handler, which is killed after `upto` effects. Mended, it has each effect once per key."""
        run = Run(key, f"job {self.moment}", "step", "type", "worker", self.now(), self.snapshot())
        for number, effect in enumerate(effects[:upto]):
            if effect == "keyed post":
                run.requests.append(Request("POST", "http://s/keyed", "00", f"{key} {number}", 200))
            elif not mended or (key, number) not in done:
                done.add((key, number))
                match effect:
                    case "append":
                        self.lines.append(f"{key} {number}")
                    case "count":
                        self.counter += 1
                    case "post":
                        run.requests.append(Request("POST", "http://s/plain", "00", "", 200))
        run.after, run.ended, run.finished = self.snapshot(), self.now(), upto >= len(effects)
        return run


EFFECTS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=5)


def undisturbed(effects: Sequence[Kind]) -> Usual:
    return usual([World().run("k", effects, mended=True, done=set(), upto=len(effects))])


@given(EFFECTS, st.lists(st.integers(0, 5), max_size=4))
def test_nothing_is_found_in_a_handler_that_has_each_effect_once(effects: list[Kind], kills: list[int]) -> None:
    world, done = World(), set[tuple[str, int]]()
    runs = [world.run("k", effects, mended=True, done=done, upto=upto) for upto in (*kills, len(effects))]
    assert not list(twice(runs, undisturbed(effects)))


@given(EFFECTS.filter(lambda effects: set(effects) != {"keyed post"}), st.lists(st.integers(0, 5), max_size=3))
def test_a_second_whole_run_that_repeats_its_effects_is_found(effects: list[Kind], kills: list[int]) -> None:
    world = World()
    upto = [*kills, len(effects), len(effects)]
    runs = [world.run("k", effects, mended=False, done=set(), upto=count) for count in upto]
    found = " ".join(twice(runs, undisturbed(effects)))
    for kind, named in (("append", "log"), ("count", "counter"), ("post", "http://s/plain")):
        assert (kind in effects) == (named in found)
    assert "keyed" not in found


@given(st.integers(2, 4))
def test_lines_that_overlapping_runs_add_are_counted_together(workers: int) -> None:
    world = World()
    runs = [
        Run("k", f"job {n}", "step", "type", f"worker {n}", world.now(), world.snapshot(), finished=True)
        for n in range(workers)
    ]
    for run in runs:
        world.lines.append("paid")
        run.after, run.ended = world.snapshot(), world.now()
    (found,) = twice(runs, Usual(growth={"log": 1}))
    assert found == f"log has +{workers} lines, and +1 after an undisturbed run"
    assert not list(twice(runs, Usual(growth={"log": workers})))


def test_a_correction_that_undisturbed_runs_do_not_send_may_be_sent_once() -> None:
    undo = Request("POST", "http://s/undo", "00", "", 200)
    run = Run("k", "job", "step", "type", "worker", 1, Counter(), ended=2, finished=True, requests=[undo])
    assert not list(twice([run], Usual()))
    run.requests.append(undo)
    assert list(twice([run], Usual())) == ["POST http://s/undo was sent 2 times, and never by an undisturbed run"]


def test_an_effect_that_another_key_has_in_an_undisturbed_instance_is_its_own() -> None:
    world = World()
    effects: list[Kind] = ["append"]
    runs = [world.run(key, effects, mended=True, done=set(), upto=1) for key in ("loop 1", "loop 2")]
    assert (usual(runs).lines, usual(runs).growth) == ({"log": 1}, {"log": 1})


def test_a_line_that_is_removed_twice_is_found() -> None:
    two, one, none = (Counter([Line("queue", str(n)) for n in range(left)]) for left in (2, 1, 0))
    runs = [
        Run("k", "job 1", "step", "type", "worker", 1, two, ended=2, after=one),
        Run("k", "job 2", "step", "type", "worker", 3, one, ended=4, after=none, finished=True),
    ]
    assert list(twice(runs, usual(runs[:1]))) == ["queue has -2 lines, and -1 after an undisturbed run"]
