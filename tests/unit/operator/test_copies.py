"""Handlers in a ConfigMap: which version of the code pods run, and how long it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rochallor_operator.errors import KubernetesError
from rochallor_operator.runtime.queue import Result
from unit.operator.fake_kube import KEY, FakeKube, reconciler, roll_out
from unit.operator.samples import resource
from unit.operator.test_pacing import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rochallor_operator.names import Manifest

HANDLERS: Manifest = {"handlers": {"configMap": {"name": "code", "module": "handlers:registry"}}}
QUOTA = KubernetesError(403, 'configmaps "payments-code-1" is forbidden: exceeded quota: small')


def code(text: str, version: str = "1") -> Manifest:
    metadata = {"namespace": "shop", "name": "code", "uid": "uid-of-code", "resourceVersion": version}
    return {"metadata": metadata, "data": {"handlers.py": text}}


class Kube(FakeKube):
    """Holds ConfigMaps and ReplicaSets by name too."""

    def __init__(self, refused: dict[str, KubernetesError] | None = None, **spec: Any) -> None:
        super().__init__(refused, **HANDLERS | spec)
        self.maps: dict[str, Manifest] = {"code": code("1")}
        self.sets: list[Manifest] = []
        self.made = 0

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        return self.maps.get(name) if kind == "ConfigMap" else await super().get(kind, namespace, name)

    async def create(self, manifest: Manifest) -> Manifest:
        if manifest["kind"] != "ConfigMap":
            return await super().create(manifest)
        if "ConfigMap" in self.refused:
            raise self.refused["ConfigMap"]
        name = manifest["metadata"]["name"]
        assert name not in self.maps, "the API server would refuse it"
        self.made += 1
        self.maps[name] = manifest | {"metadata": manifest["metadata"] | {"uid": f"uid-{self.made}"}}
        return manifest

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        if kind != "ConfigMap":
            return await super().delete(kind, namespace, name, uid)
        assert self.maps.pop(name)["metadata"]["uid"] == uid
        return None

    async def metadata(self, kind: str, _namespace: str, selector: Mapping[str, str]) -> list[Manifest]:
        self.read.append(kind)
        there = self.sets if kind == "ReplicaSet" else list(self.maps.values())
        return [item for item in there if selector.items() <= item["metadata"].get("labels", {}).items()]

    @property
    def copies(self) -> list[str]:
        return [name for name in self.maps if name != "code"]

    @property
    def mounted(self) -> str:
        volumes = self.live["Deployment"]["spec"]["template"]["spec"]["volumes"]
        (name,) = [item["configMap"]["name"] for item in volumes if item["name"] == "handlers"]
        return str(name)

    def edit(self, text: str, version: str = "2") -> None:
        self.maps["code"] = code(text, version)

    def roll_out(self) -> None:
        """Finish a rollout: its ReplicaSet exists."""
        roll_out(self)
        labels = self.live["Deployment"]["spec"]["template"]["metadata"]["labels"]
        self.sets.append({"metadata": {"labels": labels}})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the pacing."""
    made = Clock()
    monkeypatch.setattr("rochallor_operator.apply.monotonic", made)
    return made


async def test_pods_mount_an_immutable_copy_that_goes_with_the_worker() -> None:
    kube = Kube()
    kube.maps["code"] |= {"binaryData": {"model": "AAAA"}}
    await reconciler(kube).reconcile(KEY)
    (copy,) = kube.copies
    assert kube.mounted == copy
    made = kube.maps[copy]
    assert made["immutable"] is True
    assert (made["data"], made["binaryData"]) == ({"handlers.py": "1"}, {"model": "AAAA"})
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == ("uid-1", True)
    labels = kube.live["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert copy == f"payments-code-{labels['rochallor.io/code']}"
    assert kube.status["handlers"] == {"configMap": copy, "resourceVersion": "1"}


async def test_a_change_leaves_the_older_code_to_older_pods_and_reverted_code_is_the_same(clock: Clock) -> None:
    """O10: an old pod that was drained restarted with the new, bad code, and reverted code went on running."""
    kube = Kube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.roll_out()
    first = kube.mounted
    kube.edit("bad")
    await work.reconcile(KEY)
    assert kube.mounted != first
    assert kube.maps[first]["data"] == {"handlers.py": "1"}
    kube.edit("1", "3")
    clock.now += 60
    await work.reconcile(KEY)
    assert kube.mounted == first
    assert kube.status["handlers"] == {"configMap": first, "resourceVersion": "3"}
    assert kube.made == 2


async def test_repeated_changes_are_held_back_and_the_resource_is_not_ready(clock: Clock) -> None:
    """O15: 100 changes in 20 s."""
    kube = Kube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.applied.clear()
    for number in range(100):
        kube.edit(f"change {number}", f"{number}")
        await work.reconcile(KEY)
        kube.roll_out()
        clock.now += 0.2
    assert kube.applied.count("Deployment") <= 3
    assert len(kube.copies) <= 3
    assert await work.reconcile(KEY) is Result.UNSETTLED
    sentence = "a Secret or ConfigMap that the pods use has changed again: it is rolled out within about 60 s"
    for kind in ("Ready", "Progressing", "Reconciling"):
        value = "False" if kind == "Ready" else "True"
        assert kube.condition(kind) == (value, "RollingOut", sentence)
    assert kube.status["handlers"]["resourceVersion"] != "99"

    kube.live["RochallorWorker"] = resource(**HANDLERS, parallelism=8) | {"status": kube.status}
    kube.live["RochallorWorker"]["metadata"]["generation"] += 1
    await work.reconcile(KEY)
    assert kube.maps[kube.mounted]["data"] == {"handlers.py": "change 99"}, (
        "an edit of the spec includes it, immediately"
    )
    assert kube.status["handlers"]["resourceVersion"] == "99"


async def test_code_that_is_deleted_leaves_the_pods_as_they_are() -> None:
    kube = Kube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    before = kube.live["Deployment"]["spec"]["template"]
    del kube.maps["code"]
    kube.change(**HANDLERS, suspend=True)
    await work.reconcile(KEY)
    assert kube.condition("Degraded")[1] == "ConfigMapNotFound"
    assert kube.live["Deployment"]["spec"]["template"] == before
    assert kube.live["Deployment"]["spec"]["replicas"] == 0


async def test_a_copy_that_is_refused_is_not_rolled_out_and_the_resource_not_ready() -> None:
    kube = Kube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.roll_out()
    await work.reconcile(KEY)
    assert kube.condition("Ready")[0] == "True"
    first, kube.refused = kube.mounted, {"ConfigMap": QUOTA}
    kube.edit("2")
    kube.change(**HANDLERS, replicas=2)
    assert await work.reconcile(KEY) is Result.REFUSED
    for kind in ("Ready", "Degraded"):
        assert kube.condition(kind)[1] == "QuotaExceeded"
    assert kube.mounted == first
    assert kube.status["handlers"]["resourceVersion"] == "1"
    assert kube.live["Deployment"]["spec"]["replicas"] == 2, "the rest of the spec is applied"
    kube.refused = {}
    await work.reconcile(KEY)
    assert kube.mounted != first


async def test_without_its_code_no_pod_is_made() -> None:
    kube = Kube({"ConfigMap": QUOTA})
    await reconciler(kube).reconcile(KEY)
    assert "Deployment" not in kube.live
    assert kube.condition("Ready")[1] == "QuotaExceeded"


@pytest.mark.parametrize(
    "change",
    [{"data": {"handlers.py": "other"}}, {"binaryData": {"more": "AAAA"}}, {"immutable": False}],
    ids=["data", "binaryData", "mutable"],
)
async def test_a_copy_that_differs_from_its_name_is_recreated(change: Manifest) -> None:
    kube = Kube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    right = kube.maps[kube.mounted]
    kube.maps[kube.mounted] = right | change
    await work.reconcile(KEY)
    new = kube.maps[kube.mounted]
    assert {part: new.get(part) for part in ("data", "binaryData", "immutable")} == {
        part: right.get(part) for part in ("data", "binaryData", "immutable")
    }
    assert kube.made == 2
    del kube.maps[kube.mounted]
    await work.reconcile(KEY)
    assert kube.mounted in kube.maps, "a deleted copy is recreated"


async def test_copies_left_behind_by_a_deleted_resource_are_taken_over() -> None:
    kube = Kube()
    await reconciler(kube).reconcile(KEY)
    copy = kube.maps[kube.mounted]
    copy["metadata"]["ownerReferences"] = []
    await reconciler(kube).reconcile(KEY)
    assert kube.maps[kube.mounted]["metadata"]["ownerReferences"]


async def test_someone_elses_config_map_of_that_name_is_left_alone() -> None:
    kube = Kube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    first = kube.mounted
    theirs: Manifest = {"metadata": {"namespace": "shop", "name": first, "uid": "theirs"}, "data": {"a": "b"}}
    kube.maps[first] = theirs
    await work.reconcile(KEY)
    assert kube.maps[first] is theirs
    sentence = f"ConfigMap '{first}' exists and is not part of this resource: delete it or rename the resource"
    assert kube.condition("Degraded") == ("True", "NameConflict", sentence)


async def test_copies_stay_as_long_as_a_replica_set_refers_to_them(clock: Clock) -> None:
    kube = Kube()
    work = reconciler(kube)
    mounted = []
    foreign: Manifest = {"metadata": {"name": "payments-code-other", "uid": "theirs", "labels": {}}}
    kube.maps["payments-code-other"] = foreign
    for number in range(4):
        kube.edit(f"{number}")
        clock.now += 1000
        await work.reconcile(KEY)
        mounted.append(kube.mounted)
        assert set(mounted[-3:]) <= kube.maps.keys(), "before the rollout is over"
        kube.roll_out()
        kube.sets = kube.sets[-2:]  # the Deployment's controller removes the older ones
        await work.reconcile(KEY)
    assert set(kube.copies) == {*mounted[-2:], "payments-code-other"}
    kube.read.clear()
    await work.reconcile(KEY)
    assert "ReplicaSet" not in kube.read, "in steady state nothing is listed"

    kube.change()
    await work.reconcile(KEY)
    kube.sets.clear()
    kube.roll_out()
    await work.reconcile(KEY)
    assert kube.copies == ["payments-code-other"], "handlers in the image need none"
    assert "handlers" not in kube.status


async def test_the_copy_for_a_deployment_that_is_refused_stays_for_the_next_try() -> None:
    """By what the pods have now, no ReplicaSet refers to it."""
    kube = Kube()
    await reconciler(kube).reconcile(KEY)
    kube.roll_out()
    kube.edit("2")
    kube.refused = {"Deployment": KubernetesError(403, "cannot patch")}
    work = reconciler(kube)
    for _ in range(2):
        assert await work.reconcile(KEY) is Result.REFUSED
    assert len(kube.copies) == kube.made == 2


async def test_copies_that_may_not_be_listed_are_a_condition() -> None:
    class Refusing(Kube):
        async def metadata(self, kind: str, _namespace: str, _selector: Mapping[str, str]) -> list[Manifest]:
            raise KubernetesError(403, f"cannot list {kind}s")

    kube = Refusing()
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.roll_out()
    await work.reconcile(KEY)
    assert kube.condition("Degraded") == ("True", "Forbidden", "cannot list ConfigMaps")
    assert kube.condition("Ready")[0] == "True"


async def test_a_deployment_from_before_copies_existed_gets_one() -> None:
    kube = Kube()
    await reconciler(kube).reconcile(KEY)
    template = kube.live["Deployment"]["spec"]["template"]
    del template["metadata"]["labels"]["rochallor.io/code"]
    template["spec"]["volumes"] = [{"name": "handlers", "configMap": {"name": "code"}}]
    await reconciler(kube).reconcile(KEY)
    assert kube.mounted in kube.copies
