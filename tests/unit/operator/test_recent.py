from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.recent import TRUSTED_S, Recent

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

NAME = ("Service", "shop", "payments")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recent(clock: Clock) -> Recent:
    return Recent(clock)


def service(version: int, name: str = "payments") -> Manifest:
    metadata = {"namespace": "shop", "name": name, "resourceVersion": str(version)}
    return {"metadata": metadata | {"managedFields": ["…"]}, "spec": {"version": version}}


def test_what_was_seen_is_known_whole(recent: Recent) -> None:
    recent.see(service(1), "Service")
    live = recent.get(*NAME)
    assert live is not None
    assert live == service(1), "its managers too: they tell who owns the replicas"
    live["spec"]["version"] = 9  # the reader's own
    assert recent.get(*NAME) != live
    assert recent.get("Deployment", "shop", "payments") is None


def test_a_sight_is_trusted_for_a_while(recent: Recent, clock: Clock) -> None:
    recent.see(service(1), "Service")
    clock.now = TRUSTED_S - 1
    recent.see(service(1, "other"), "Service")
    assert recent.get(*NAME) is not None
    clock.now = TRUSTED_S
    assert recent.get(*NAME) is None
    recent.see(service(2, "third"), "Service")
    assert len(recent._sights) == 2, "what is no longer trusted takes no memory"


def test_what_is_forgotten_is_asked_for(recent: Recent) -> None:
    recent.see(service(1), "Service")
    recent.forget(*NAME)
    recent.forget(*NAME)
    assert recent.get(*NAME) is None


def test_after_a_break_nothing_is_known(recent: Recent) -> None:
    recent.see(service(1), "Service")
    recent.clear()
    assert recent.get(*NAME) is None


@given(st.permutations([(1, False), (2, False), (3, True), (4, False), (5, False)]), st.integers(1, 5))
def test_in_any_order_the_newest_sight_wins(sights: list[tuple[int, bool]], count: int) -> None:
    recent = Recent(Clock())
    for version, deleted in sights[:count]:
        recent.see(service(version), "Service", deleted=deleted)
    newest, deleted = max(sights[:count])
    live = recent.get(*NAME)
    assert live is None if deleted else live is not None and live["spec"]["version"] == newest
