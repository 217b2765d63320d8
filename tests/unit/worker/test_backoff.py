from random import Random

from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.backoff import Backoff


@given(st.integers(), st.floats(0.001, 1), st.floats(1, 60), st.integers(1, 50))
def test_waits_stay_between_base_and_cap(seed: int, base: float, cap: float, tries: int) -> None:
    backoff = Backoff(base, cap, Random(seed))
    assert all(base <= backoff.next() <= cap for _ in range(tries))


def test_waits_grow_to_the_cap_and_start_over_after_a_reset() -> None:
    backoff = Backoff(0.1, 30, Random(1))
    assert max(backoff.next() for _ in range(100)) == 30
    backoff.reset()
    assert backoff.next() <= 0.3


def test_two_workers_do_not_wait_alike() -> None:
    one, other = Backoff(0.1, 30, Random(1)), Backoff(0.1, 30, Random(2))
    assert [one.next() for _ in range(5)] != [other.next() for _ in range(5)]
