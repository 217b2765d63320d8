"""Which types are asked for, against an engine that gives the oldest jobs first: nobody starves and nobody gains."""

from collections import Counter, deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.source.turns import QUIET_GAP, Turns

GAP = 0.005
"""Seconds between two polls here."""
TYPES = ["a", "b", "c", "d"]


class Engine:
    """Jobs that wait, the oldest first, whatever their type."""

    def __init__(self) -> None:
        self._came = 0
        self._waiting: dict[str, deque[int]] = {}

    def add(self, job_type: str, count: int) -> None:
        self._waiting.setdefault(job_type, deque()).extend(range(self._came, self._came + count))
        self._came += count

    def give(self, job_types: list[str], count: int) -> list[str]:
        given: list[str] = []
        while len(given) < count and (waiting := [one for one in job_types if self._waiting.get(one)]):
            oldest = min(waiting, key=lambda job_type: self._waiting[job_type][0])
            self._waiting[oldest].popleft()
            given.append(oldest)
        return given


class Polls:
    """Polls every `GAP`; `room` can be changed."""

    def __init__(self, *job_types: str) -> None:
        self.engine = Engine()
        self.room = dict.fromkeys(job_types, 1000)
        self.turns = Turns(job_types, lambda job_type: self.room[job_type])
        self.now = 0.0
        self.asked_at: dict[str, list[float]] = {job_type: [] for job_type in job_types}
        self.got: Counter[str] = Counter()

    def poll(self, free: int) -> tuple[list[str], int]:
        self.now += GAP
        asked, count = self.turns.next(free, self.now)
        if asked:
            given = self.engine.give(asked, count)
            self.turns.answered(asked, count, given)
            self.got.update(given)
        for job_type in asked:
            self.asked_at[job_type].append(self.now)
        return asked, count

    def add(self, job_type: str, count: int = 1) -> None:
        self.engine.add(job_type, count)


def test_while_nothing_is_backlogged_one_poll_asks_for_all() -> None:
    polls = Polls("a", "b", "c")
    for _ in range(10):
        polls.add("b", 3)
        assert polls.poll(10) == (["a", "b", "c"], 10)
    assert polls.got == {"b": 30}
    assert not polls.turns.hurried


def test_room_for_one_job_is_enough() -> None:
    polls = Polls("a", "b")
    polls.room = {"a": 1, "b": 1}
    assert polls.poll(10) == (["a", "b"], 1)


def test_quiet_types_are_asked_for_exactly_once_a_gap() -> None:
    turns = Turns(["a", "b"], lambda _: 10)
    assert turns.next(10, 0.0) == (["a", "b"], 10)
    turns.answered(["a", "b"], 10, ["a"] * 10)
    assert turns.next(10, QUIET_GAP - 0.001) == (["a"], 10)
    assert turns.next(10, QUIET_GAP) == (["b"], 5)


def test_quiet_types_are_not_asked_for_twice_in_a_row_however_long_a_poll_takes() -> None:
    turns = Turns(["a", "b"], lambda _: 10)
    turns.answered(["a", "b"], 10, ["a"] * 10)
    asked = []
    for number in range(6):
        [job_type], count = turns.next(10, number * 3 * QUIET_GAP)
        asked.append((job_type, count))
    assert asked == [("b", 5), ("a", 10)] * 3


def test_who_got_less_is_asked_for_first_also_a_new_one() -> None:
    room = {"a": 10, "b": 10, "c": 0}
    turns = Turns(["a", "b", "c"], lambda job_type: room[job_type])

    def poll(now: float = 0.0) -> str:
        [job_type], count = turns.next(10, now)
        turns.answered([job_type], count, [job_type] * count)
        return job_type

    turns.next(10, 0.0)
    turns.answered(["a", "b"], 10, ["a"] * 5 + ["b"] * 5)
    room["b"] = 0
    assert {poll() for _ in range(3)} == {"a"}
    room.update(b=10, c=10)
    assert poll(QUIET_GAP) == "c"  # four jobs, on top of what b had got
    assert "".join(poll() for _ in range(10)) == "bbcbcbcbcb"  # four jobs each, until they have as many as a
    assert "".join(poll() for _ in range(6)) == "cbcabc"


def test_a_poll_for_several_types_asks_for_no_more_than_each_has_room_for() -> None:
    polls = Polls("a", "b", "c")
    polls.room = {"a": 7, "b": 0, "c": 4}
    assert polls.poll(10) == (["a", "c"], 4)
    assert polls.poll(3) == (["a", "c"], 3)


def test_without_room_nothing_is_asked_for() -> None:
    polls = Polls("a", "b")
    polls.room = {"a": 0, "b": 0}
    assert polls.poll(10) == ([], 0)
    polls.room["a"] = 100
    polls.add("a", 100)
    polls.poll(10)
    before = polls.turns.hurried
    polls.room["a"] = 1
    assert polls.turns.hurried == before
    assert polls.poll(10) == (["a"], 1)
    polls.room["a"] = 0
    assert (before, polls.turns.hurried) == (True, False)
    assert polls.poll(10) == ([], 0)


def test_a_flood_of_one_type_does_not_keep_another_one_waiting() -> None:
    polls = Polls("a", "b")
    polls.add("a", 10_000)
    assert polls.poll(10) == (["a", "b"], 10)
    first = polls.now
    assert polls.poll(10) == (["a"], 10)
    assert polls.turns.hurried
    while polls.now < 2:
        polls.poll(10)
    times = [first, *(at for at in polls.asked_at["b"] if at > first)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= QUIET_GAP - 1e-9
    assert max(gaps) <= QUIET_GAP + GAP + 1e-9
    polls.add("b")
    polls.now += QUIET_GAP
    polls.poll(10)
    assert polls.got["b"] == 1


def test_a_full_answer_that_lacks_one_of_the_types_leaves_that_one_quiet() -> None:
    polls = Polls("a", "b")
    polls.add("a", 5)
    polls.add("b", 50)
    polls.poll(5)
    assert polls.poll(10) == (["a"], 10)  # it was alone in a full answer; there are no more
    assert polls.poll(10) == (["a", "b"], 10)


def test_backlogged_types_get_equally_many_jobs_whatever_the_order_in_which_they_wait() -> None:
    polls = Polls("a", "b", "c")
    for job_type in ("a", "b", "c"):
        polls.add(job_type, 5000)
    while sum(polls.got.values()) < 3000:
        polls.poll(9)
    assert max(polls.got.values()) - min(polls.got.values()) <= 2 * 9 * QUIET_GAP / GAP  # until all are known
    before = polls.got.copy()
    for _ in range(60):
        assert polls.poll(9)[1] == 3
    assert {number - before[job_type] for job_type, number in polls.got.items()} == {60}


def test_a_newly_backlogged_type_gets_no_windfall() -> None:
    polls = Polls("a", "b", "c")
    polls.add("a", 10_000)
    polls.add("b", 10_000)
    while sum(polls.got.values()) < 8000:
        polls.poll(10)
    polls.add("c", 10_000)
    before = polls.got.copy()
    while not polls.got["c"]:
        polls.poll(10)
    for _ in range(300):
        polls.poll(9)
    gained = {job_type: number - before[job_type] for job_type, number in polls.got.items()}
    assert gained["c"] <= min(gained["a"], gained["b"]) + 10
    assert gained["c"] >= 300 - 20


def test_a_type_that_was_held_back_by_its_room_makes_up_no_more_than_its_room_allows() -> None:
    polls = Polls("a", "b")
    polls.add("a", 10_000)
    polls.add("b", 10_000)
    for _ in range(50):
        polls.poll(10)
    polls.room["b"] = 1
    for _ in range(100):
        asked, count = polls.poll(10)
        assert asked == ["a"] or count == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(TYPES),
        st.integers(0, 40),  # jobs that come
        st.integers(0, 12),  # its room from now on
        st.integers(1, 20),  # free slots
    ),
    min_size=1,
    max_size=30,
)


@given(STEPS)
def test_never_more_is_asked_for_than_slots_and_each_type_have_room_for(
    steps: list[tuple[str, int, int, int]],
) -> None:
    polls = Polls(*TYPES)
    for job_type, coming, room, free in steps:
        polls.add(job_type, coming)
        polls.room[job_type] = room
        asked, count = polls.poll(free)
        assert count <= free
        assert all(count <= polls.room[one] for one in asked)
        assert (count > 0) == bool(asked) == any(room > 0 for room in polls.room.values())
        assert len(asked) == len(set(asked))
        assert set(asked) <= set(TYPES)


@given(STEPS, st.sampled_from(TYPES), st.integers(1, 5))
def test_a_type_with_room_is_served_within_a_bound_whatever_came_before(
    steps: list[tuple[str, int, int, int]], waits: str, slots: int
) -> None:
    """All types but one are flooded: that one is asked for soon, whether or not it was backlogged before."""
    polls = Polls(*TYPES)
    for job_type, coming, room, free in steps:
        polls.add(job_type, coming)
        polls.room[job_type] = room
        polls.poll(free)
    polls.room = dict.fromkeys(TYPES, 1000)
    for job_type in TYPES:
        if job_type != waits:
            polls.add(job_type, 1000)
    polls.add(waits)
    before, began = polls.got[waits], polls.now
    while polls.got[waits] == before:
        polls.poll(slots)
        # a poll finds one flooded type at worst; and what this one got more than others by now, they get first
        assert polls.now - began < QUIET_GAP * len(TYPES) + GAP * (12 * len(steps) + len(TYPES) * (slots + 1))


@pytest.mark.parametrize("alone", [True, False])
def test_an_answer_with_fewer_jobs_than_asked_for_ends_a_backlog(alone: bool) -> None:
    polls = Polls("a", "b") if not alone else Polls("a")
    polls.add("a", 12)
    polls.poll(10)
    assert polls.turns.hurried
    assert polls.poll(10) == (["a"], 10)
    assert not polls.turns.hurried


def test_a_type_that_was_not_asked_for_gets_no_turn() -> None:
    turns = Turns(["a"], lambda job_type: {"a": 8}[job_type])
    turns.answered(["a"], 2, ["", "nobody's"])
    assert not turns.hurried
    assert turns.next(8, 0.0) == (["a"], 8)


def test_a_type_that_is_not_backlogged_is_in_one_poll_at_a_time() -> None:
    turns = Turns(["a", "b"], lambda _: 10)
    turns.ask(["a"], 10)
    assert turns.next(10, 0.0) == (["b"], 10)
    turns.ask(["b"], 10)
    assert turns.next(10, 1.0) == ([], 0)
    turns.ask(["a"], -10)
    assert turns.next(10, 2.0) == (["a"], 10)


def test_what_the_polls_in_flight_ask_for_counts_as_got() -> None:
    turns = Turns(["a", "b"], lambda _: 10)
    turns.answered(["a", "b"], 10, ["a"] * 6 + ["b"] * 4)
    asked = []
    for _ in range(4):
        [job_type], count = turns.next(10, 0.0)
        turns.ask([job_type], count)
        asked.append((job_type, count))
    assert asked == [("a", 5), ("b", 5), ("a", 5), ("b", 5)]
    turns.ask(["b"], -10)  # both brought nothing
    assert turns.next(10, 0.0) == (["b"], 5)
