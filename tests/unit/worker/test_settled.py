"""A settled event is remembered for exactly as long as one of its records may be redelivered."""

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.journal import KEEP_SECONDS, Journal
from rochallor_worker.execution.settled import Place, SettledEvents
from rochallor_worker.outcome import Completed
from unit.worker.killable import KillableJournal

if TYPE_CHECKING:
    from collections.abc import Callable

PLACES = st.builds(Place, st.sampled_from("st"), st.integers(0, 1), st.integers(0, 12))
OFFSETS = st.dictionaries(st.integers(0, 1), st.integers(0, 13))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("settle"), st.sampled_from("abcde"), st.lists(PLACES, min_size=1, max_size=3)),
        st.tuples(st.just("commit"), st.sampled_from("st"), OFFSETS),
        st.tuples(st.just("crash"), st.booleans(), st.none()),
    ),
    max_size=40,
)


@given(steps=STEPS)
def test_against_a_plain_map_of_places_over_any_number_of_crashes(
    steps: list[tuple[str, str, list[Place] | dict[int, int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = KillableJournal(folder)
    at: dict[Place, str] = {}
    settled: set[str] = set()
    crashed = False
    for step, what, where in steps:
        if step == "settle" and isinstance(where, list):
            journal.settled("key", what, where)
            at |= dict.fromkeys(where, what)
            settled.add(what)
        elif step == "commit" and isinstance(where, dict):
            journal.committed(what, where)
            removed = {place for place in at if place.topic == what and place.offset < where.get(place.partition, 0)}
            at = {place: event for place, event in at.items() if place not in removed}
        elif step == "crash":
            crashed = True
            journal.close() if what else journal.kill()
            journal = KillableJournal(folder)
        known = {event for event in "abcde" if journal.has_settled(event)}
        assert set(at.values()) <= known, "a settled event would be processed again"
        assert known <= settled, "an event that was not settled would be lost"
        # a crash restores what was committed since the file was last rewritten, which is harmless
        assert crashed or known == set(at.values())
    for topic in "st":
        journal.committed(topic, {0: 13, 1: 13})
    assert not any(journal.has_settled(event) for event in "abcde")
    journal.kill()


def test_the_oldest_are_forgotten_when_there_are_too_many() -> None:
    events = SettledEvents(max_events=2)
    for number, event in enumerate("abac"):
        events.add(event, 0, [Place("t", 0, number)])
    assert [event in events for event in "abc"] == [True, False, True]
    events.committed("t", {0: 4})
    assert len(events) == 0


def test_what_was_never_committed_is_forgotten_after_a_day(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, now = tmp_path_factory.mktemp("journal"), 1e9

    def reopened() -> Journal:
        return Journal(folder, lambda: now)

    first = reopened()
    first.settled("key", "e", [Place("t", 0, 7)])
    first.close()
    now += KEEP_SECONDS
    second = reopened()
    assert second.has_settled("e")
    second.close()
    now += 1
    third = reopened()
    assert not third.has_settled("e")
    third.close()


@pytest.mark.parametrize("how", ["close", "kill"])
def test_the_settled_event_takes_the_place_of_its_job(tmp_path_factory: pytest.TempPathFactory, how: str) -> None:
    folder = tmp_path_factory.mktemp("journal")
    job = ClaimedJob(id="j", step_execution_id="k", instance_id="i", job_type="a")
    journal = KillableJournal(folder)
    journal.started(job)
    journal.decided(job, Completed({"x": 1}))
    journal.settled("k", "e", [Place("t", 0, 7)])
    end: Callable[[], None] = getattr(journal, how)
    end()
    journal = KillableJournal(folder)
    assert journal.recall(job) is None  # a retry is another event of the same key
    assert journal.has_settled("e")
    journal.close()


def test_an_event_is_remembered_until_its_repeats_are_committed_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    journal = KillableJournal(tmp_path_factory.mktemp("journal"))
    journal.settled("k", "e", [Place("t", 0, 7)])
    journal.repeated("e", Place("t", 0, 9))
    journal.committed("t", {0: 8})
    assert journal.has_settled("e")
    journal.committed("t", {0: 10})
    assert not journal.has_settled("e")
    journal.close()


def test_without_a_folder_no_event_is_kept() -> None:
    journal = Journal()
    journal.settled("k", "e", [Place("t", 0, 7)])
    assert not journal.has_settled("e")
