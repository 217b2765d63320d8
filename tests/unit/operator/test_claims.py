"""Two operators that serve one resource: one manages it, the other leaves it alone until the first is removed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from rochallor_operator.claims import ANSWER_S, FORGET_S, Claims
from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import Key, Release
from rochallor_operator.reconcile import Reconciler
from rochallor_operator.runtime.queue import Result, WorkQueue
from unit.operator.fake_kube import FakeKube
from unit.operator.samples import resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

pytestmark = pytest.mark.looptime

KEY = Key("shop", "payments")


def now() -> float:
    return asyncio.get_running_loop().time()


class Cluster(FakeKube):
    """What several operators share: each change of the resource is an event for all of them."""

    def __init__(self) -> None:
        super().__init__()
        del self.read  # a method here
        self.queues: list[WorkQueue[Key]] = []
        self.images: list[str] = []
        self.challenges = 0
        self.down = False

    def notify(self) -> None:
        for queue in self.queues:
            queue.add(KEY)

    async def read(self, kind: str, _namespace: str, _name: str) -> Manifest | None:  # type: ignore[override]
        if self.down:
            raise KubernetesError(None, "away")
        return self.live.get(kind)

    async def get(self, kind: str, _namespace: str, _name: str) -> Manifest | None:
        return self.live.get(kind)

    async def pods(self, _namespace: str, _selector: dict[str, str]) -> list[Manifest]:
        return []

    async def apply(self, manifest: Manifest) -> Manifest:
        kind = manifest["kind"]
        before = self.live.get(kind, {}).get("spec")
        metadata = manifest["metadata"] | {"uid": f"uid-of-{kind}", "generation": 1}
        self.live[kind] = manifest | {"metadata": metadata}
        if kind == "Deployment" and manifest["spec"] != before:
            self.images.append(manifest["spec"]["template"]["spec"]["containers"][0]["image"])
            self.notify()
        return self.live[kind]

    async def apply_status(self, manifest: Manifest) -> None:
        kept = {field: self.status[field] for field in ("challenge",) if field in self.status}
        self.set_status(manifest["status"] | kept)

    async def challenge(self, _resource: Manifest, text: str | None) -> None:
        self.challenges += text is not None
        rest = {field: value for field, value in self.status.items() if field != "challenge"}
        self.set_status(rest | ({"challenge": text} if text is not None else {}))

    def set_status(self, status: Manifest) -> None:
        self.status = status
        self.live["RochallorWorker"] = resource() | {"status": status}
        self.notify()


@asynccontextmanager
async def operator(cluster: Cluster, name: str) -> AsyncIterator[Reconciler]:
    """A running operator; its worker image has its own name."""
    loop = asyncio.get_running_loop()
    reconciler = Reconciler(cast("Kube", cluster), Release(f"{name}/operator", name, b"key"))
    reconciler.claims._clock = loop.time
    queue = WorkQueue(reconciler.reconcile, pause=0.5)
    cluster.queues.append(queue)
    tasks = [asyncio.create_task(queue.run()), asyncio.create_task(reconciler.claims.run(queue.add))]
    queue.add(KEY)
    try:
        yield reconciler
    finally:
        cluster.queues.remove(queue)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_the_second_one_stops_and_a_condition_names_both() -> None:
    """O11: the Deployment's generation went from 1 to 87 in 28 s."""
    cluster = Cluster()
    async with operator(cluster, "first"):
        await asyncio.sleep(5)
        async with operator(cluster, "second"):
            await asyncio.sleep(5)
            assert cluster.condition("Degraded") == (
                "True",
                "SeveralOperators",
                "the operator second/operator serves this namespace too, and leaves the resource to the operator"
                " first/operator: let only one of them serve it",
            )
            await asyncio.sleep(1200)
            assert cluster.images == ["first"]
            assert cluster.status["operator"] == "first/operator"
            assert cluster.events.count("Warning SeveralOperators") == 1
            assert cluster.challenges <= 1200 / ANSWER_S * 1.2
        await asyncio.sleep(FORGET_S)
        cluster.notify()  # as a resync does
        await asyncio.sleep(5)
        assert cluster.condition("Degraded")[1] == "Healthy"
        assert "challenge" not in cluster.status
        assert "answer" not in cluster.status


async def test_it_takes_over_when_the_first_is_removed_and_the_first_stays_away_when_it_returns() -> None:
    cluster = Cluster()
    async with operator(cluster, "first"):
        await asyncio.sleep(5)
    async with operator(cluster, "second"):
        await asyncio.sleep(0.8 * ANSWER_S)
        assert cluster.images == ["first"]
        await asyncio.sleep(0.3 * ANSWER_S)
        assert cluster.images == ["first", "second"]
        assert cluster.status["operator"] == "second/operator"
        assert "challenge" not in cluster.status
        async with operator(cluster, "first"):
            await asyncio.sleep(1200)
            assert cluster.images == ["first", "second"]
            assert "operator first/operator serves" in cluster.condition("Degraded")[2]


async def test_it_takes_over_within_minutes_from_one_that_stops_while_it_waits() -> None:
    cluster = Cluster()
    async with AsyncExitStack() as first:
        await first.enter_async_context(operator(cluster, "first"))
        await asyncio.sleep(5)
        async with operator(cluster, "second"):
            await asyncio.sleep(1000)
            assert cluster.images == ["first"]
            await first.aclose()
            await asyncio.sleep(2.1 * ANSWER_S)
            assert cluster.images == ["first", "second"]


async def test_a_restart_of_the_first_is_not_its_end() -> None:
    cluster = Cluster()
    async with operator(cluster, "first"):
        await asyncio.sleep(5)
    async with operator(cluster, "second"):
        await asyncio.sleep(ANSWER_S / 2)
        async with operator(cluster, "first"):
            await asyncio.sleep(1200)
            assert cluster.images == ["first"]


async def test_both_see_a_new_resource_at_once_and_one_of_three_stays() -> None:
    cluster = Cluster()
    async with operator(cluster, "a"), operator(cluster, "b"), operator(cluster, "c"):
        await asyncio.sleep(60)
        settled = list(cluster.images)
        assert len(settled) <= 4
        await asyncio.sleep(1200)
        assert cluster.images == settled, "the challenges of the others don't hide the answers from each other"
        assert f"{settled[-1]}/operator" == cluster.status["operator"]


async def test_an_unreachable_api_server_proves_nothing() -> None:
    cluster = Cluster()
    async with operator(cluster, "first"):
        await asyncio.sleep(5)
        async with operator(cluster, "second"):
            await asyncio.sleep(5)
            cluster.down = True
            await asyncio.sleep(4 * ANSWER_S)
            cluster.down = False
            await asyncio.sleep(4 * ANSWER_S)
            assert cluster.images == ["first"]


async def test_replicas_of_one_release_are_the_same_operator() -> None:
    cluster = Cluster()
    async with operator(cluster, "first"):
        await asyncio.sleep(5)
    async with operator(cluster, "first") as second:
        cluster.live["RochallorWorker"]["spec"]["parallelism"] = 8
        assert await second.reconcile(KEY) is Result.UNSETTLED
    assert cluster.challenges == 0
    assert len(cluster.images) == 2


async def test_a_deleted_resource_is_forgotten() -> None:
    cluster = Cluster()
    claims = Claims(cast("Kube", cluster), "me/operator", now)
    other: dict[str, Any] = resource() | {"status": {"operator": "other/operator"}}
    assert claims.yields(KEY, other)
    claims.forget(KEY)
    assert claims._left == {}
    del cluster.live["RochallorWorker"]
    assert claims.yields(KEY, other)
    changed: list[Key] = []
    task = asyncio.create_task(claims.run(changed.append))
    await asyncio.sleep(1)
    task.cancel()
    assert (changed, claims._left) == ([KEY], {})
