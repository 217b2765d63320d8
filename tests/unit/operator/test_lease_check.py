"""Warnings of leases on a virtual clock. (With a real API server: tests/integration.)"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import Key
from rochallor_operator.observe import Problem
from rochallor_operator.pods.lease_check import ASKED, LeaseChecks
from rochallor_operator.pods.warnings import CHECK_S, Warnings
from unit.operator.samples import pod, resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

KEY = Key("shop", "payments")
FIRST = 1.0
"""After it, the first check is over and the second has not begun."""


def running(name: str, *, ready: bool = True) -> Manifest:
    return pod(name, phase="Running", podIP="10.0.0.1", conditions=[{"type": "Ready", "status": str(ready)}])


def degraded(reason: str, message: str) -> Manifest:
    """A resource with this condition."""
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Available", "message": "1 of 1 pods available"},
        {"type": "Degraded", "status": "True", "reason": reason, "message": message},
    ]
    return resource() | {"status": {"conditions": conditions}}


class Cluster:
    """Pods and their answers. Both Kube and the pods."""

    def __init__(self, *pods: Manifest, **says: str | None) -> None:
        self.all = list(pods)
        self.says = says
        """A pod that is not named here warns of nothing."""
        self.refusal: KubernetesError | None = None
        self.listed = 0
        self.asked: list[str] = []
        self.warnings: list[str | None] = []
        """The warning at each time that it changed."""

    async def pods(self, _namespace: str, _selector: Mapping[str, str]) -> list[Manifest]:
        self.listed += 1
        if self.refusal is not None:
            raise self.refusal
        return self.all

    async def ask(self, each: Manifest) -> str | None:
        name = each["metadata"]["name"]
        self.asked.append(name)
        return self.says.get(name, "")

    @asynccontextmanager
    async def checked(
        self, live: Manifest | None = None, kind: type[Warnings] = LeaseChecks
    ) -> AsyncIterator[Warnings]:
        """The running checks, for a resource whose pods may have that warning."""
        checks = kind(cast("Kube", self), self.ask)

        def changed(key: Key) -> None:
            warning = checks.warning(key)
            self.warnings.append(None if warning is None else warning.message)

        checks.want(KEY, live or resource(), wanted=True)
        task = asyncio.create_task(checks.run(changed))
        try:
            yield checks
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.looptime
async def test_a_warning_names_its_pod_and_is_removed_when_the_pod_withdraws_it() -> None:
    cluster = Cluster(running("a"), a="too long")
    async with cluster.checked() as checks:
        await asyncio.sleep(FIRST)
        assert checks.warning(KEY) == Problem("LeaseNotRenewable", "pod a: too long")
        await asyncio.sleep(10 * CHECK_S)
        assert cluster.warnings == ["pod a: too long"]
        cluster.says.clear()
        await asyncio.sleep(CHECK_S)
        assert checks.warning(KEY) is None
    assert cluster.warnings == ["pod a: too long", None]


@pytest.mark.looptime
async def test_a_check_is_one_listing_and_few_questions_at_long_intervals() -> None:
    cluster = Cluster(*(running(f"p-{number}") for number in range(4 * ASKED)))
    async with cluster.checked() as checks:
        for _ in range(100):  # as each reconcile does
            checks.want(KEY, resource(), wanted=True)
            await asyncio.sleep(CHECK_S / 10)
    assert 10 <= cluster.listed <= 15
    assert len(cluster.asked) == ASKED * cluster.listed
    assert len(set(cluster.asked)) > ASKED, "each pod has its turn"
    assert cluster.warnings == []


@pytest.mark.looptime
async def test_the_pod_that_has_warned_is_asked_first() -> None:
    cluster = Cluster(*(running(f"p-{number}") for number in range(4 * ASKED)))
    cluster.says = dict.fromkeys((f"p-{number}" for number in range(4 * ASKED)), "too long")
    async with cluster.checked():
        await asyncio.sleep(20 * CHECK_S)
        assert len(cluster.warnings) == 1
        cluster.asked.clear()
        first = str(cluster.warnings[0]).removeprefix("pod ").removesuffix(": too long")
        await asyncio.sleep(CHECK_S)
        assert set(cluster.asked) == {first}
        cluster.all = [each for each in cluster.all if each["metadata"]["name"] != first]
        await asyncio.sleep(2 * CHECK_S)
        assert len(cluster.warnings) == 2, "another pod has the same warning"


@pytest.mark.looptime
async def test_a_warning_stays_while_its_pod_does_not_answer_or_nobody_can_be_asked() -> None:
    cluster = Cluster(running("a"), running("b"), a="too long")
    async with cluster.checked():
        await asyncio.sleep(3 * CHECK_S)
        cluster.says["a"] = None
        await asyncio.sleep(3 * CHECK_S)
        cluster.refusal = KubernetesError(None, "refused")
        await asyncio.sleep(3 * CHECK_S)
        cluster.refusal = None
        cluster.all = [running("a", ready=False), pod("no-status")]
        cluster.says.clear()
        await asyncio.sleep(3 * CHECK_S)
        assert cluster.warnings == ["pod a: too long"]
        cluster.all = [running("b")]
        await asyncio.sleep(CHECK_S)
    assert cluster.warnings == ["pod a: too long", None]


@pytest.mark.looptime
@pytest.mark.parametrize("sentence", ["too long", None])
async def test_a_new_operator_keeps_the_warning_in_the_status(sentence: str | None) -> None:
    cluster = Cluster(running("a"), a=sentence)
    async with cluster.checked(degraded("LeaseNotRenewable", "pod a: too long")) as checks:
        assert checks.warning(KEY) is not None
        await asyncio.sleep(3 * CHECK_S)
    assert cluster.warnings == []


@pytest.mark.looptime
async def test_another_reason_in_the_status_is_no_warning() -> None:
    cluster = Cluster()
    async with cluster.checked(degraded("EngineUnreachable", "pod a: no answer")) as checks:
        assert checks.warning(KEY) is None


@pytest.mark.looptime
@pytest.mark.parametrize("deleted", [True, False])
async def test_a_resource_that_is_deleted_or_has_short_handlers_is_not_checked(deleted: bool) -> None:
    cluster = Cluster(running("a"), a="too long")
    async with cluster.checked() as checks:
        await asyncio.sleep(FIRST)
        if deleted:
            checks.forget(KEY)
        else:
            checks.want(KEY, resource(), wanted=False)
        assert checks.warning(KEY) is None
        cluster.asked.clear()
        await asyncio.sleep(10 * CHECK_S)
    assert (cluster.asked, cluster.listed) == ([], 1)
