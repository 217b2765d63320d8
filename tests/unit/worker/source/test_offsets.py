"""A committed offset has nothing unfinished below it, and in the end everything is committed."""

from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.source.kafka.offsets import Offsets

# offsets grow but may have gaps, from compaction and transactions
OFFSETS = st.lists(st.integers(1, 3), min_size=1, max_size=40).map(
    lambda steps: [sum(steps[: n + 1]) for n in range(len(steps))]
)


def test_nothing_can_be_committed_before_the_first_record() -> None:
    assert Offsets().committable is None


def test_an_empty_partition_ends_at_zero() -> None:
    tracker = Offsets()
    tracker.reached(0)
    assert tracker.committable == 0


def test_an_end_counts_when_all_before_it_is_done() -> None:
    tracker = Offsets()
    tracker.reached(900)
    assert tracker.committable == 900
    tracker.begin(905)
    tracker.reached(908)
    assert tracker.committable == 905
    tracker.done(905)
    assert tracker.committable == 908


def test_an_end_that_comes_late_lowers_no_offset() -> None:
    tracker = Offsets()
    tracker.begin(5)
    tracker.done(5)
    tracker.reached(3)
    assert tracker.committable == 6


@given(offsets=OFFSETS, data=st.data())
def test_whatever_the_order_of_ends_the_lowest_unfinished_is_the_limit(offsets: list[int], data: st.DataObject) -> None:
    tracker, coming = Offsets(), list(offsets)
    unfinished: list[int] = []
    before = 0
    while coming or unfinished:
        if coming and (not unfinished or data.draw(st.booleans())):
            offset = coming.pop(0)
            tracker.begin(offset)
            unfinished.append(offset)
        else:
            offset = data.draw(st.sampled_from(unfinished))
            unfinished.remove(offset)
            tracker.done(offset)
        begun = [offset for offset in offsets if offset not in coming]
        committable = tracker.committable
        assert committable == (min(unfinished) if unfinished else begun[-1] + 1)
        assert committable >= before, "a commit went back"
        before = committable
        assert tracker.width == sum(offset >= committable for offset in begun)
    assert tracker.committable == offsets[-1] + 1
    assert tracker.width == 0
