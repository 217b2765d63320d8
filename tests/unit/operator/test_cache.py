from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.cluster.cache import TTL_S, Cache

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
def cache(clock: Clock) -> Cache:
    return Cache(clock)


def service(version: int, name: str = "payments") -> Manifest:
    metadata = {"namespace": "shop", "name": name, "resourceVersion": str(version)}
    return {"metadata": metadata | {"managedFields": ["…"]}, "spec": {"version": version}}


def test_an_entry_is_the_whole_object(cache: Cache) -> None:
    cache.put(service(1), "Service")
    live = cache.get(*NAME)
    assert live is not None
    assert live == service(1), "its managers too: they say who owns the replicas"
    live["spec"]["version"] = 9  # the reader's own
    assert cache.get(*NAME) != live
    assert cache.get("Deployment", "shop", "payments") is None


def test_an_entry_expires(cache: Cache, clock: Clock) -> None:
    cache.put(service(1), "Service")
    clock.now = TTL_S - 1
    cache.put(service(1, "other"), "Service")
    assert cache.get(*NAME) is not None
    clock.now = TTL_S
    assert cache.get(*NAME) is None
    cache.put(service(2, "third"), "Service")
    assert len(cache._entries) == 2, "an expired entry takes no memory"


def test_a_forgotten_object_is_not_returned(cache: Cache) -> None:
    cache.put(service(1), "Service")
    cache.forget(*NAME)
    cache.forget(*NAME)
    assert cache.get(*NAME) is None


def test_a_cleared_cache_is_empty(cache: Cache) -> None:
    cache.put(service(1), "Service")
    cache.clear()
    assert cache.get(*NAME) is None


@given(st.permutations([(1, False), (2, False), (3, True), (4, False), (5, False)]), st.integers(1, 5))
def test_in_any_order_the_newest_version_wins(entries: list[tuple[int, bool]], count: int) -> None:
    cache = Cache(Clock())
    for version, deleted in entries[:count]:
        cache.put(service(version), "Service", deleted=deleted)
    newest, deleted = max(entries[:count])
    live = cache.get(*NAME)
    assert live is None if deleted else live is not None and live["spec"]["version"] == newest
