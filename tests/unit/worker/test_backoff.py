from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.backoff import Backoff, Jitter


@given(st.integers(), st.floats(0.001, 1), st.floats(1, 60), st.integers(1, 50))
def test_waits_stay_between_base_and_cap(seed: int, base: float, cap: float, tries: int) -> None:
    backoff = Jitter(base, cap, Random(seed))
    assert all(base <= backoff.next() <= cap for _ in range(tries))


def test_waits_grow_to_the_cap_and_start_over_after_a_reset() -> None:
    backoff = Jitter(0.1, 30, Random(1))
    assert max(backoff.next() for _ in range(100)) == 30
    backoff.reset()
    assert backoff.next() <= 0.3


def test_two_workers_do_not_wait_alike() -> None:
    one, other = Jitter(0.1, 30, Random(1)), Jitter(0.1, 30, Random(2))
    assert [one.next() for _ in range(5)] != [other.next() for _ in range(5)]


@given(st.floats(0.001, 10), st.floats(1, 1e9), st.floats(10, 1e6))
def test_pauses_grow_by_the_factor_up_to_the_most(first: float, factor: float, most: float) -> None:
    """However many failures there were."""
    backoff = Backoff(first=first, factor=factor, most=most)
    assert backoff.pause(0) == first
    for failures in (0, 1, 2, 10, 1000, 100_000):
        now, then = backoff.pause(failures), backoff.pause(failures + 1)
        assert then == pytest.approx(min(most, now * factor))


@pytest.mark.parametrize(
    "values",
    [{"first": 0}, {"first": -1}, {"factor": 0.5}, {"first": 70}, {"most": float("inf")}, {"factor": float("nan")},
     {"first": "1"}, {"first": True}, {"factor": None}, {"most": "60"}],
)  # fmt: skip
def test_a_backoff_that_does_not_grow_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be 0 < first <= most and factor >= 1"):
        Backoff(**values)
