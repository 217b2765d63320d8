"""Warnings of breakers on a virtual clock. (With a real API server: tests/integration.)"""

from __future__ import annotations

import asyncio

import pytest

from rochallor_operator.observe import Problem
from rochallor_operator.pods.breaker_check import ASKED, BreakerChecks
from rochallor_operator.pods.warnings import CHECK_S
from unit.operator.samples import pod
from unit.operator.test_lease_check import FIRST, KEY, Cluster, degraded, running

OPEN = "all runs of charge-card fail: no answer"


@pytest.mark.looptime
async def test_the_warning_is_that_of_all_pods() -> None:
    cluster = Cluster(running("a"), running("b"), a=OPEN)
    async with cluster.checked(kind=BreakerChecks) as checks:
        await asyncio.sleep(5 * CHECK_S)
        assert checks.warning(KEY) is None
        cluster.says["b"] = OPEN
        await asyncio.sleep(CHECK_S)
        assert checks.warning(KEY) == Problem("BreakerOpen", OPEN)
        cluster.says["a"] = ""
        await asyncio.sleep(CHECK_S)
        assert checks.warning(KEY) is None
    assert cluster.warnings == [OPEN, None]


@pytest.mark.looptime
async def test_a_worker_whose_runs_succeed_is_asked_with_one_question() -> None:
    cluster = Cluster(*(running(f"p-{number}") for number in range(10)))
    async with cluster.checked(kind=BreakerChecks):
        await asyncio.sleep(10 * CHECK_S)
    assert len(cluster.asked) == cluster.listed
    assert len(set(cluster.asked)) > 1, "each pod has its turn"


@pytest.mark.looptime
async def test_many_pods_are_asked_in_part() -> None:
    cluster = Cluster(*(running(f"p-{number}") for number in range(2 * ASKED)))
    cluster.says = {f"p-{number}": OPEN for number in range(2 * ASKED)}
    async with cluster.checked(kind=BreakerChecks):
        await asyncio.sleep(FIRST)
    assert (len(cluster.asked), cluster.warnings) == (ASKED, [OPEN])


@pytest.mark.looptime
async def test_the_sentence_stays_while_a_pod_says_it() -> None:
    cluster = Cluster(running("a"), running("b"), a="one wording", b="another")
    async with cluster.checked(kind=BreakerChecks) as checks:
        await asyncio.sleep(20 * CHECK_S)
        assert len(cluster.warnings) == 1
        cluster.says = {"a": OPEN, "b": OPEN}
        await asyncio.sleep(CHECK_S)
        assert checks.warning(KEY) == Problem("BreakerOpen", OPEN)


@pytest.mark.looptime
async def test_a_pod_that_does_not_answer_changes_nothing() -> None:
    cluster = Cluster(running("a"), a=None)
    async with cluster.checked(kind=BreakerChecks):
        await asyncio.sleep(3 * CHECK_S)
        cluster.says["a"] = OPEN
        await asyncio.sleep(3 * CHECK_S)
        cluster.says["a"] = None
        await asyncio.sleep(3 * CHECK_S)
    assert cluster.warnings == [OPEN]


@pytest.mark.looptime
async def test_without_a_ready_pod_there_is_no_warning() -> None:
    """Such as of a worker scaled to zero: nobody knows."""
    cluster = Cluster(running("a", ready=False), pod("no-status"), a=OPEN)
    async with cluster.checked(degraded("BreakerOpen", OPEN), kind=BreakerChecks):
        await asyncio.sleep(FIRST)
    assert (cluster.warnings, cluster.asked) == ([None], [])


@pytest.mark.looptime
async def test_a_new_operator_keeps_the_warning_in_the_status() -> None:
    cluster = Cluster(running("a"), a=OPEN)
    async with cluster.checked(degraded("BreakerOpen", OPEN), kind=BreakerChecks) as checks:
        assert checks.warning(KEY) == Problem("BreakerOpen", OPEN)
        await asyncio.sleep(3 * CHECK_S)
    assert cluster.warnings == []
