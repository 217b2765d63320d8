"""How often changed content is rolled out."""

from __future__ import annotations

from itertools import pairwise

from rochallor_operator.content.pacing import Pacing
from rochallor_operator.names import Key

KEY = Key("shop", "payments")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rollouts(changes: list[float], generation: int = 1) -> list[float]:
    """When changes at these seconds, each seen every second from then on, are rolled out."""
    clock, done, pending = Clock(), [], 0
    pacing = Pacing(clock)
    for second in range(int(max(changes)) + 100):
        clock.now = 1000.0 + second
        pending += sum(second == int(change) for change in changes)
        if pending and pacing.allows(KEY, generation):
            pacing.note_rollout(KEY, generation)
            done.append(float(second))
            pending = 0
    return done


def test_a_hundred_changes_in_twenty_seconds() -> None:
    """O15: they made 95 patches and 107 ReplicaSets."""
    assert rollouts([number / 5 for number in range(100)]) == [0, 10, 30]


def test_endless_changes_are_rolled_out_once_a_minute() -> None:
    done = rollouts([float(second) for second in range(0, 600, 5)])
    assert done[:5] == [0, 10, 30, 70, 130]
    assert {later - earlier for earlier, later in pairwise(done[4:])} == {60}


def test_after_a_rest_a_change_is_rolled_out_at_once_and_the_pause_is_short_again() -> None:
    assert rollouts([0, 1, 2, 300, 301]) == [0, 10, 300, 310]


def test_an_edit_of_the_spec_ends_the_pause() -> None:
    clock = Clock()
    pacing = Pacing(clock)
    pacing.note_rollout(KEY, 1)
    assert not pacing.allows(KEY, 1)
    assert pacing.allows(KEY, 2)
    pacing.forget(KEY)
    assert pacing.allows(KEY, 1)
