"""How a reconcile goes on when the API server refuses a part. (What it does to a cluster: tests/integration.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from rochallor_operator.errors import KubernetesError
from rochallor_operator.queue import Outcome
from rochallor_operator.reconcile import Key, Reconciler
from unit.operator.samples import resource

if TYPE_CHECKING:
    from rochallor_operator.kube import Kube
    from rochallor_operator.names import Manifest

KEY = Key("shop", "payments")


class FakeKube:
    """Holds one resource, accepts every apply except of the kinds it refuses, and remembers what it was sent."""

    def __init__(self, refused: dict[str, KubernetesError]) -> None:
        self._refused = refused
        self.live: dict[str, Manifest] = {"RochallorWorker": resource()}
        self.applied: list[str] = []
        self.status: Manifest = {}

    async def get(self, kind: str, _namespace: str, _name: str) -> Manifest | None:
        if kind in self._refused and kind not in {"Service", "Deployment"}:
            raise self._refused[kind]
        return self.live.get(kind)

    async def apply(self, manifest: Manifest) -> Manifest:
        kind = manifest["kind"]
        if kind in self._refused:
            raise self._refused[kind]
        self.applied.append(kind)
        metadata = manifest["metadata"] | {"uid": f"uid-of-{kind}", "generation": 1}
        self.live[kind] = manifest | {"metadata": metadata}
        return self.live[kind]

    async def apply_status(self, manifest: Manifest) -> None:
        self.status = manifest["status"]

    async def pods(self, _namespace: str, _selector: dict[str, str]) -> list[Manifest]:
        return []

    def degraded(self) -> tuple[str, str]:
        (found,) = [item for item in self.status["conditions"] if item["type"] == "Degraded"]
        return found["reason"], found["message"]


def reconciler(kube: FakeKube) -> Reconciler:
    return Reconciler(cast("Kube", kube), "worker:1")


async def test_both_children_are_applied_once() -> None:
    kube = FakeKube({})
    work = reconciler(kube)
    assert await work.reconcile(KEY) is Outcome.UNSETTLED
    assert await work.reconcile(KEY) is Outcome.UNSETTLED
    assert kube.applied == ["Service", "Deployment"]


@pytest.mark.parametrize(("refused", "applied"), [("Service", ["Deployment"]), ("Deployment", ["Service"])])
async def test_a_refused_child_is_a_condition_and_the_other_one_is_still_made(refused: str, applied: list[str]) -> None:
    kube = FakeKube({refused: KubernetesError(403, "cannot patch")})
    assert await reconciler(kube).reconcile(KEY) is Outcome.FAILED
    assert kube.applied == applied
    assert kube.degraded() == ("Forbidden", "cannot patch")


async def test_a_config_map_that_may_not_be_read_is_a_condition() -> None:
    kube = FakeKube({"ConfigMap": KubernetesError(403, "cannot get configmaps")})
    handlers = {"configMap": {"name": "code", "module": "handlers:registry"}}
    kube.live["RochallorWorker"] = resource(handlers=handlers)
    work = reconciler(kube)
    assert await work.reconcile(KEY) is Outcome.FAILED
    assert kube.applied == ["Service"]
    assert kube.degraded() == ("Forbidden", "cannot get configmaps")
    assert work.users_of("shop", "code") == [KEY]


@pytest.mark.parametrize("status", [None, 409, 500, 503])
async def test_passing_trouble_is_tried_again_and_says_nothing_on_the_resource(status: int | None) -> None:
    kube = FakeKube({"Deployment": KubernetesError(status, "try again")})
    assert await reconciler(kube).reconcile(KEY) is Outcome.FAILED
    assert kube.status == {}


async def test_an_invalid_spec_changes_no_child() -> None:
    kube = FakeKube({})
    kube.live["RochallorWorker"] = resource(drainTimeout="soon")
    assert await reconciler(kube).reconcile(KEY) is Outcome.SETTLED
    assert kube.applied == []
    assert kube.degraded()[0] == "InvalidSpec"


@pytest.mark.parametrize("ending", ["gone", "being deleted"])
async def test_a_resource_that_is_gone_is_forgotten(ending: str) -> None:
    kube = FakeKube({})
    work = reconciler(kube)
    await work.reconcile(KEY)
    if ending == "gone":
        del kube.live["RochallorWorker"]
    else:
        kube.live["RochallorWorker"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    kube.live.pop("Deployment")
    kube.applied.clear()
    assert await work.reconcile(KEY) is Outcome.SETTLED
    assert kube.applied == []
