"""A processed event is not processed again within the window; a repeat in flight shares its fate."""

from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.source.kafka.dedup import Dedup

WINDOW = 600.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_repeat_in_flight_ends_with_the_first() -> None:
    dedup: Dedup[int] = Dedup(WINDOW, Clock())
    assert dedup.begin("a", 1)
    assert not dedup.begin("a", 2)
    assert not dedup.ended("a")
    assert dedup.end("a") == [1, 2]
    assert dedup.ended("a")


def test_an_event_that_was_dropped_can_begin_again() -> None:
    dedup: Dedup[int] = Dedup(WINDOW, Clock())
    dedup.begin("a", 1)
    dedup.begin("a", 2)
    assert dedup.drop("a") == [1, 2]
    assert not dedup.ended("a")
    assert dedup.begin("a", 3)


def test_the_oldest_are_forgotten_when_there_are_too_many() -> None:
    dedup: Dedup[int] = Dedup(WINDOW, Clock(), max_remembered=2)
    for name in "abc":
        dedup.begin(name, 0)
        dedup.end(name)
    assert [dedup.ended(name) for name in "abc"] == [False, True, True]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 600)), max_size=40))
def test_an_event_is_known_for_exactly_the_window(steps: list[tuple[str, int]]) -> None:
    clock = Clock()
    dedup: Dedup[int] = Dedup(WINDOW, clock)
    ended_at: dict[str, float] = {}
    for name, wait in steps:
        clock.now += wait
        known = name in ended_at and clock.now - ended_at[name] < WINDOW
        assert dedup.ended(name) == known
        if not known:
            assert dedup.begin(name, 0)
            dedup.end(name)
            ended_at[name] = clock.now
