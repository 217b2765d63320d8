"""Shields of busy pods on a virtual clock. (With a real API server: tests/integration.)"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.names import SHIELD, SHIELDED_SINCE
from rochallor_operator.observe import Problem
from rochallor_operator.pods.busy import CHECK_S
from rochallor_operator.pods.shield import Shields
from unit.operator.test_deletion_cost import KEY, SHORT, Cluster, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

LIMIT = 3600.0
EPOCH = "1970-01-01T00:00:00Z"


@asynccontextmanager
async def shielding(cluster: Cluster, limit: float = LIMIT) -> AsyncIterator[Shields]:
    """The running checks of an operator that has just started, for a resource that asks for them."""
    shields = Shields(cast("Kube", cluster), cluster.is_busy, asyncio.get_running_loop().time)
    shields.want(KEY, limit)
    task = asyncio.create_task(shields.run(cluster.changed.append))
    try:
        yield shields
    finally:
        task.cancel()
        await asyncio.wait([task])


def shielded(cluster: Cluster) -> set[str]:
    """The pods that Karpenter and the cluster autoscaler leave alone."""
    annotations = {name: each["metadata"]["annotations"] for name, each in cluster.all.items()}
    return {name for name, there in annotations.items() if there.items() >= SHIELD.items()}


def pod(name: str, annotations: dict[str, str]) -> Manifest:
    made = running(name)
    made["metadata"]["annotations"] = dict(annotations)
    return made


@pytest.mark.looptime
async def test_a_pod_is_shielded_while_it_is_busy() -> None:
    cluster = Cluster(running("a"), running("b"))
    cluster.busy["a"] = True
    async with shielding(cluster):
        await asyncio.sleep(1000)
        assert shielded(cluster) == {"a"}
        assert len(cluster.written) == 1
        cluster.busy = {"a": False, "b": True}
        await asyncio.sleep(CHECK_S)
        assert shielded(cluster) == {"b"}
    assert cluster.all["a"]["metadata"]["annotations"] == {}


@pytest.mark.looptime
async def test_a_pod_that_is_busy_for_ever_is_given_up_until_it_has_been_idle() -> None:
    cluster = Cluster(running("a"))
    cluster.busy["a"] = True
    async with shielding(cluster):
        await asyncio.sleep(LIMIT - CHECK_S)
        assert shielded(cluster) == {"a"}
        await asyncio.sleep(2 * CHECK_S)
        assert shielded(cluster) == set()
        await asyncio.sleep(10 * LIMIT)
        assert len(cluster.written) == 2
        for busy in (False, True):
            cluster.busy["a"] = busy
            await asyncio.sleep(CHECK_S)
        assert shielded(cluster) == {"a"}


@pytest.mark.looptime
async def test_the_limit_outlives_the_operator_and_holds_for_pods_that_do_not_answer() -> None:
    cluster = Cluster(running("a"), running("b"))
    cluster.busy = {"a": True, "b": True}
    for _ in range(4):
        async with shielding(cluster):
            await asyncio.sleep(LIMIT / 4 - CHECK_S)
            assert shielded(cluster) == {"a", "b"}
    cluster.busy["b"] = None
    async with shielding(cluster):
        await asyncio.sleep(5 * CHECK_S)
        assert shielded(cluster) == set()
    async with shielding(cluster):
        await asyncio.sleep(LIMIT)
    assert shielded(cluster) == set()


@pytest.mark.looptime
async def test_a_shorter_limit_counts_at_once() -> None:
    cluster = Cluster(running("a"))
    cluster.busy["a"] = True
    async with shielding(cluster) as shields:
        await asyncio.sleep(600)
        shields.want(KEY, 300)
        await asyncio.sleep(CHECK_S)
        assert shielded(cluster) == set()


@pytest.mark.looptime
async def test_a_time_in_the_far_future_shields_no_longer_than_the_limit() -> None:
    ahead = SHIELD | {SHIELDED_SINCE: "9999-01-01T00:00:00Z"}
    cluster = Cluster(pod("a", ahead))
    cluster.busy["a"] = True
    async with shielding(cluster):
        await asyncio.sleep(CHECK_S)
        assert shielded(cluster) == set()


@pytest.mark.looptime
async def test_shields_are_removed_when_they_are_no_longer_wanted() -> None:
    theirs = {"karpenter.sh/do-not-disrupt": "true"}
    cluster = Cluster(running("a"), pod("theirs", theirs))
    cluster.busy = {"a": True, "theirs": True}
    async with shielding(cluster) as shields:
        await asyncio.sleep(SHORT)
        assert shielded(cluster) == {"a"}
        shields.want(KEY, None)
        await asyncio.sleep(2 * CHECK_S)
    assert shielded(cluster) == set()
    assert cluster.all["theirs"]["metadata"]["annotations"] == theirs


@pytest.mark.looptime
async def test_without_the_right_the_problem_names_the_value_of_the_chart() -> None:
    cluster = Cluster(running("a"))
    cluster.allowed = False
    async with shielding(cluster) as shields:
        await asyncio.sleep(SHORT)
        sentence = "disruptionShield needs the right to patch pods: set patchPods in the values of the operator's chart"
        assert shields.problem(KEY) == Problem("Forbidden", sentence)


TIMES = st.sampled_from([EPOCH, "1970-01-01T01:00:00Z", "1970-01-01T02:00:00Z", "9999-12-31T23:59:59Z", "soon", "0001"])
FOREIGN = st.dictionaries(st.sampled_from(sorted(SHIELD)), st.sampled_from(["true", "false", "5m"]))
STATES = st.one_of(
    FOREIGN, st.builds(lambda since, theirs: theirs | {SHIELDED_SINCE: since}, TIMES, FOREIGN | st.just(SHIELD))
)


@given(STATES, st.sampled_from([True, False, None]), st.floats(0, 3 * LIMIT))
def test_a_change_puts_a_pod_right_and_touches_no_annotations_of_others(
    before: dict[str, str], busy: bool | None, now: float
) -> None:
    """Until, at the same time, nothing is left to change."""
    shields = Shields(cast("Kube", None), Cluster().is_busy, lambda: now)
    answers = {} if busy is None else {"a": busy}
    changes = dict(shields.changes([pod("a", before)], answers, LIMIT))
    after = {name: value for name, value in (before | changes.get("a", {})).items() if value is not None}
    assert shields.changes([pod("a", after)], answers, LIMIT) == []
    if SHIELDED_SINCE not in before and before:
        assert after == before
    elif not before:
        assert (after.items() >= SHIELD.items()) is (busy is True)
    elif busy is False:
        assert after == {}
    elif before[SHIELDED_SINCE] in {EPOCH, "soon", "0001"} and now >= LIMIT:
        assert after == {SHIELDED_SINCE: before[SHIELDED_SINCE]}
    else:
        assert after.keys() >= {SHIELDED_SINCE}
