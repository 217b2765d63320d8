"""The resync on a virtual clock."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import Key
from rochallor_operator.watch.resync import MAX_DEPTH, PERIOD_S, resync

pytestmark = pytest.mark.looptime

LISTED = {"shop": [Key("shop", f"worker-{number}") for number in range(50)], "bank": [Key("bank", "loans")]}


class FakeKube:
    """Lists resources; optionally unreachable at first."""

    def __init__(self, failures: int = 0) -> None:
        self._failures = failures

    async def keys(self, namespace: str) -> list[Key]:
        if self._failures:
            self._failures -= 1
            raise KubernetesError(None, "away")
        return LISTED[namespace] if namespace else [key for keys in LISTED.values() for key in keys]


class Queue:
    """Notes when each key is added."""

    def __init__(self) -> None:
        self.depth = 0
        self.added: dict[Key, list[float]] = defaultdict(list)

    def add(self, key: Key) -> None:
        self.added[key].append(asyncio.get_running_loop().time())


def start(kube: FakeKube, queue: Queue, served: frozenset[str] | None, known: list[Key]) -> asyncio.Task[None]:
    reconciler = SimpleNamespace(served=served, known=lambda: known)
    return asyncio.create_task(resync(cast("Any", kube), cast("Any", reconciler), cast("Any", queue)))


async def reconciles(kube: FakeKube, served: frozenset[str] | None, known: list[Key]) -> dict[Key, list[float]]:
    queue = Queue()
    task = start(kube, queue, served, known)
    await asyncio.sleep(5 * PERIOD_S)
    task.cancel()
    return queue.added


async def test_each_resource_is_reconciled_in_every_period_and_never_all_at_once() -> None:
    found = await reconciles(FakeKube(), None, [Key("shop", "deleted")])
    assert found.keys() == {*LISTED["shop"], *LISTED["bank"], Key("shop", "deleted")}
    for times in found.values():
        gaps = [after - before for before, after in zip([0, *times], times, strict=False)]
        assert max(gaps) <= PERIOD_S
        assert min(gaps[1:]) > PERIOD_S / 2
    at = sorted(when for times in found.values() for when in times)
    assert max(sum(begin <= when < begin + 60 for when in at) for begin in at) < len(found) / 4


async def test_only_served_namespaces_are_listed() -> None:
    assert (await reconciles(FakeKube(), frozenset({"bank"}), [])).keys() == set(LISTED["bank"])


async def test_it_survives_an_unreachable_api_server() -> None:
    found = await reconciles(FakeKube(failures=3), None, [])
    assert all(len(times) >= 4 for times in found.values())


async def test_it_waits_while_the_operator_is_behind() -> None:
    queue = Queue()
    queue.depth = MAX_DEPTH + 1
    task = start(FakeKube(), queue, None, [])
    await asyncio.sleep(2 * PERIOD_S)
    assert not queue.added
    queue.depth = MAX_DEPTH
    await asyncio.sleep(PERIOD_S)
    assert queue.added.keys() == {*LISTED["shop"], *LISTED["bank"]}
    task.cancel()


async def test_without_resources_it_waits() -> None:
    assert await reconciles(FakeKube(), frozenset(), []) == {}
