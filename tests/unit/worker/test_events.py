"""Events as values."""

from itertools import combinations
from typing import get_args

from rochallor_worker.events import Event, Recalled


def test_events_of_two_types_are_never_equal() -> None:
    """Else a test for a duplicate would pass for any other event with the same fields."""
    of_a_job = [kind for kind in get_args(Event) if kind.__match_args__ == ("job_type",)]
    assert len(of_a_job) >= 7
    assert [(one, other) for one, other in combinations(of_a_job, 2) if one("a") == other("a")] == []
    assert Recalled("a") == Recalled("a")
    assert Recalled("a") != Recalled("b")
