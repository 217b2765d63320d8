"""Deletion costs on a virtual clock. (With a real API server: tests/integration; with real pods: tests/e2e.)"""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import DELETION_COST, Key
from rochallor_operator.observe import Problem
from rochallor_operator.pods.busy import ASKED, CHECK_S, WRITES
from rochallor_operator.pods.deletion_cost import BUSY, DeletionCosts
from unit.operator.samples import pod

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

KEY = Key("shop", "payments")
SHORT = CHECK_S / 2
"""After it, the first check is over and the second has not begun."""


def running(name: str, cost: str | None = None, *, ready: bool = True) -> Manifest:
    found = pod(
        name,
        phase="Running",
        podIP="10.0.0.1",
        conditions=[{"type": "Ready", "status": str(ready)}],
    )
    found["metadata"]["annotations"] = {} if cost is None else {DELETION_COST: cost}
    return found


class Cluster:
    """Pods, their answers, and when they were asked and written to. Both Kube and the pods."""

    def __init__(self, *pods: Manifest) -> None:
        self.all = {each["metadata"]["name"]: each for each in pods}
        self.busy: dict[str, bool | None] = {}
        """The answer of a pod; one that isn't named here is idle."""
        self.allowed = True
        self.refusal: KubernetesError | None = None
        self.asked: list[float] = []
        self.written: list[tuple[float, str, dict[str, str | None]]] = []
        self.changed: list[Key] = []

    async def may_patch_pods(self, _namespace: str) -> bool:
        return self.allowed

    async def pods(self, _namespace: str, _selector: Mapping[str, str]) -> list[Manifest]:
        return list(self.all.values())

    async def annotate_pod(self, _namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        if self.refusal is not None:
            raise self.refusal
        there = self.all[name]["metadata"]["annotations"]
        after = there | annotations
        there.clear()
        there |= {annotation: value for annotation, value in after.items() if value is not None}
        self.written.append((_now(), name, dict(annotations)))

    async def is_busy(self, each: Manifest) -> bool | None:
        self.asked.append(_now())
        return self.busy.get(each["metadata"]["name"], False)

    def costs(self) -> dict[str, str]:
        """The pods with a cost."""
        annotations = {name: each["metadata"]["annotations"] for name, each in self.all.items()}
        return {name: found[DELETION_COST] for name, found in annotations.items() if DELETION_COST in found}

    @asynccontextmanager
    async def checked(self) -> AsyncIterator[DeletionCosts]:
        """The running checks, for a resource that asks for them."""
        costs = DeletionCosts(cast("Kube", self), self.is_busy)
        costs.want(KEY, math.inf)
        task = asyncio.create_task(costs.run(self.changed.append))
        try:
            yield costs
        finally:
            task.cancel()
            await asyncio.wait([task])


def _now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_only_a_change_is_written() -> None:
    cluster = Cluster(running("a"), running("b"))
    cluster.busy["a"] = True
    async with cluster.checked() as costs:
        await asyncio.sleep(SHORT)
        assert cluster.costs() == {"a": BUSY}
        await asyncio.sleep(1000)
        asked = len(cluster.asked)
        for _ in range(3):  # as each reconcile does
            costs.want(KEY, math.inf)
            costs.want(Key("shop", "mail"), None)
            await asyncio.sleep(0.1)
        assert len(cluster.asked) == asked
        cluster.busy["a"] = False
        await asyncio.sleep(CHECK_S)
    assert [change for _, *change in cluster.written] == [["a", {DELETION_COST: BUSY}], ["a", {DELETION_COST: None}]]


@pytest.mark.looptime
async def test_many_pods_are_asked_and_written_to_at_a_bounded_rate() -> None:
    cluster = Cluster(*(running(f"p-{number}") for number in range(3 * ASKED)))
    cluster.busy = dict.fromkeys(cluster.all, True)
    async with cluster.checked():
        await asyncio.sleep(60 - SHORT)
        assert len(cluster.asked) == 6 * ASKED
        assert len(cluster.written) == 6 * WRITES
        await asyncio.sleep(3600)
    assert cluster.costs() == dict.fromkeys(cluster.all, BUSY), "each pod has its turn"
    assert len(cluster.written) == len(cluster.all)


@pytest.mark.looptime
async def test_a_pod_that_does_not_answer_stays_as_it_is() -> None:
    ending = running("ending", BUSY)
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster = Cluster(running("silent", BUSY), running("starts", ready=False), ending, pod("no-status"))
    cluster.busy = {"silent": None, "starts": True, "no-status": True}
    async with cluster.checked():
        await asyncio.sleep(100)
    assert cluster.written == []


@pytest.mark.looptime
async def test_without_the_right_no_pod_is_asked_and_the_problem_is_reported_once() -> None:
    cluster = Cluster(running("a"))
    cluster.busy["a"], cluster.allowed = True, False
    async with cluster.checked() as costs:
        await asyncio.sleep(100)
        assert costs.problem(KEY) == Problem("Forbidden", costs.no_right)
        assert (cluster.asked, cluster.changed) == ([], [KEY])
        cluster.allowed = True
        await asyncio.sleep(CHECK_S)
        assert costs.problem(KEY) is None
        assert cluster.changed == [KEY, KEY]
        assert cluster.costs() == {"a": BUSY}


@pytest.mark.looptime
async def test_a_right_that_is_revoked_is_reported() -> None:
    cluster = Cluster(running("a"))
    async with cluster.checked() as costs:
        await asyncio.sleep(SHORT)
        cluster.busy["a"], cluster.allowed, cluster.refusal = True, False, KubernetesError(403, "cannot patch")
        await asyncio.sleep(CHECK_S)
        assert costs.problem(KEY) == Problem("Forbidden", "cannot patch")
        await asyncio.sleep(CHECK_S)
        assert costs.problem(KEY) == Problem("Forbidden", costs.no_right)


@pytest.mark.looptime
async def test_an_unreachable_api_server_is_no_problem_of_the_resource() -> None:
    cluster = Cluster(running("a"))
    cluster.busy["a"], cluster.refusal = True, KubernetesError(None, "refused")
    async with cluster.checked() as costs:
        await asyncio.sleep(600)
        assert costs.problem(KEY) is None
        cluster.refusal = None
        await asyncio.sleep(60)
    assert cluster.costs() == {"a": BUSY}


@pytest.mark.looptime
async def test_the_costs_are_removed_when_they_are_no_longer_wanted() -> None:
    cluster = Cluster(*(running(f"p-{number}") for number in range(WRITES + 1)), running("theirs", "7"))
    cluster.busy = dict.fromkeys(cluster.all, True)
    async with cluster.checked() as costs:
        await asyncio.sleep(2 * CHECK_S)
        assert len(cluster.costs()) == WRITES + 2
        costs.want(KEY, None)
        await asyncio.sleep(2 * CHECK_S)
        assert cluster.costs() == {"theirs": "7"}
        asked = len(cluster.asked)
        await asyncio.sleep(100)
        assert len(cluster.asked) == asked
        costs.want(KEY, math.inf)
        await asyncio.sleep(2 * CHECK_S)
        assert len(cluster.costs()) == WRITES + 2


@pytest.mark.looptime
async def test_a_resource_that_is_deleted_is_not_checked() -> None:
    cluster = Cluster(running("a"))
    async with cluster.checked() as costs:
        await asyncio.sleep(SHORT)
        costs.forget(KEY)
        cluster.asked.clear()
        await asyncio.sleep(100)
    assert cluster.asked == []


NAMES = [f"p-{number}" for number in range(8)]
COSTS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([None, BUSY, "-5", "oops"]))


@given(COSTS, st.dictionaries(st.sampled_from(NAMES), st.booleans()))
def test_the_changes_correct_the_costs_and_touch_nothing_else(
    before: dict[str, str | None], busy: dict[str, bool]
) -> None:
    costs = DeletionCosts(cast("Kube", None), Cluster().is_busy)
    changes = costs.changes([running(name, cost) for name, cost in before.items()], busy, math.inf)
    found = [(name, change[DELETION_COST]) for name, change in changes]
    after = before | dict(found)
    assert len(dict(found)) == len(found)
    for name, cost in before.items():
        ours = cost in {None, BUSY} and name in busy
        assert after[name] == ((BUSY if busy[name] else None) if ours else cost)
        assert (name in dict(found)) is (ours and after[name] != cost)
    assert [cost for _, cost in found] == sorted((cost for _, cost in found), key=lambda cost: cost is None)
