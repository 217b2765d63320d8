"""Annotations that make the kubelet refresh a pod's files, on a virtual clock. (With a real API server:
tests/integration.)"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import READY_PODS
from rochallor_operator.pods.ready_pods import PAUSE_S, SETTLE_S, WRITES, ReadyPods
from unit.operator.samples import pod
from unit.operator.test_deletion_cost import KEY, Cluster, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rochallor_operator.cluster.kube import Kube

ROUND = SETTLE_S + 0.1
"""After it, the first round is over and the second has not begun."""


@asynccontextmanager
async def telling(cluster: Cluster, number: str) -> AsyncIterator[ReadyPods]:
    """At work, on a resource with this number in its ConfigMap."""
    work = ReadyPods(cast("Kube", cluster))
    work.tell(KEY, number)
    task = asyncio.create_task(work.run())
    try:
        yield work
    finally:
        task.cancel()
        await asyncio.wait([task])


def annotated(cluster: Cluster) -> dict[str, str | None]:
    return {name: each["metadata"]["annotations"].get(READY_PODS) for name, each in cluster.all.items()}


@pytest.mark.looptime
async def test_each_running_pod_is_annotated_once_for_each_number() -> None:
    cluster = Cluster(running("a"), running("b", ready=False), running("c", "7"))
    async with telling(cluster, "2") as work:
        await asyncio.sleep(SETTLE_S / 2)
        assert cluster.written == [], "the kubelet may not have the new number yet"
        await asyncio.sleep(ROUND)
        assert annotated(cluster) == {"a": "2", "b": "2", "c": "2"}
        for _ in range(10):  # as each reconcile does
            work.tell(KEY, "2")
            await asyncio.sleep(100)
        assert len(cluster.written) == 3
        work.tell(KEY, "3")
        await asyncio.sleep(ROUND)
    assert annotated(cluster) == {"a": "3", "b": "3", "c": "3"}
    assert cluster.costs() == {"c": "7"}


@pytest.mark.looptime
async def test_after_a_restart_only_pods_without_the_number_are_annotated() -> None:
    cluster = Cluster(running("a"), running("b"))
    cluster.all["a"]["metadata"]["annotations"][READY_PODS] = "2"
    async with telling(cluster, "2"):
        await asyncio.sleep(ROUND)
    assert [name for _, name, _ in cluster.written] == ["b"]


@pytest.mark.looptime
async def test_pods_that_do_not_run_are_left_alone() -> None:
    ending, waiting, gone = running("ending"), pod("waiting", phase="Pending"), pod("gone", phase="Failed")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster = Cluster(ending, waiting, gone, pod("no-status"))
    async with telling(cluster, "2"):
        await asyncio.sleep(100)
    assert cluster.written == []


@pytest.mark.looptime
async def test_quick_changes_and_many_pods_are_written_at_a_bounded_rate() -> None:
    cluster = Cluster(*(running(f"p-{number}") for number in range(3 * WRITES)))
    async with telling(cluster, "1") as work:
        for number in range(100):
            work.tell(KEY, f"{number}")
            await asyncio.sleep(PAUSE_S / 10)
        assert len(cluster.written) <= 11 * WRITES
        await asyncio.sleep(10 * PAUSE_S)
    assert annotated(cluster) == dict.fromkeys(cluster.all, "99")


@pytest.mark.looptime
async def test_without_the_right_nothing_is_tried() -> None:
    cluster = Cluster(running("a"))
    cluster.allowed = False
    async with telling(cluster, "2"):
        await asyncio.sleep(100)
    assert cluster.written == []


@pytest.mark.looptime
async def test_a_refusal_is_not_tried_again_for_the_same_number() -> None:
    """The kubelet would have refreshed the files by then."""
    cluster = Cluster(running("a"))
    cluster.refusal = KubernetesError(None, "refused")
    async with telling(cluster, "2") as work:
        await asyncio.sleep(ROUND)
        cluster.refusal = None
        await asyncio.sleep(100)
        assert cluster.written == []
        work.tell(KEY, "3")
        await asyncio.sleep(ROUND)
    assert annotated(cluster) == {"a": "3"}


@pytest.mark.looptime
@pytest.mark.parametrize("deleted", [True, False])
async def test_a_resource_that_is_deleted_or_has_no_such_limit_is_left_alone(deleted: bool) -> None:
    cluster = Cluster(running("a"))
    async with telling(cluster, "2") as work:
        if deleted:
            work.forget(KEY)
        else:
            work.tell(KEY, None)
        await asyncio.sleep(100)
    assert cluster.written == []
