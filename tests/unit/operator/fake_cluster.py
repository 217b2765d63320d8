"""A Kubernetes in memory with one resource, its Deployments and ControllerRevisions, for a real Reconciler.

Its operator can be killed at any request; the next one sees what is there.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import Key, Release
from rochallor_operator.policy import Policy
from rochallor_operator.reconcile import Reconciler
from unit.operator.samples import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

KEY = Key("shop", "payments")
STABLE, CANARY = ("Deployment", "payments"), ("Deployment", "payments-canary")
RESOURCE = ("RochallorWorker", "payments")
COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")


T = TypeVar("T")


class Killed(BaseException):
    """The operator's process has ended."""


class FakeCluster:
    """Objects by kind and name. `dies_in` requests from now the operator is killed, before or after the request."""

    def __init__(self, **spec: Any) -> None:
        self.live: dict[tuple[str, str], Manifest] = {RESOURCE: resource(**spec)}
        self.dies_in: int | None = None
        self.after = False
        self.writes: list[tuple[str, str]] = []
        """Kind and name of every object written or removed."""
        self._uid = 0

    def operator(self) -> Reconciler:
        """A new operator, to which the watch has listed all children."""
        policy = Policy(copy_secrets=True)
        made = Reconciler(cast("Kube", self), Release("system/operator", "worker:1", b"key"), policy=policy)
        for (kind, _), live in self.live.items():
            if kind == "Deployment":
                made.on_child_event(kind, live, deleted=False)
        return made

    def edit(self, **spec: Any) -> None:
        """Change the spec."""
        live = self.live[RESOURCE]
        if live["spec"] | spec != live["spec"]:
            generation = live["metadata"]["generation"] + 1
            self.live[RESOURCE] = live | {
                "spec": live["spec"] | spec,
                "metadata": live["metadata"] | {"generation": generation},
            }

    def annotate(self, **values: str) -> None:
        """Set annotations of the resource, by their names without the group."""
        live = self.live[RESOURCE]
        notes = live["metadata"].get("annotations", {}) | {
            f"rochallor.io/{name}": text for name, text in values.items()
        }
        self.live[RESOURCE] = live | {"metadata": live["metadata"] | {"annotations": notes}}

    def roll_out(self) -> None:
        """Let the Deployments' controller finish."""
        for (kind, _), live in self.live.items():
            if kind == "Deployment":
                generation, wanted = live["metadata"]["generation"], live["spec"].get("replicas", 1)
                ended = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
                live["status"] = dict.fromkeys(COUNTS, wanted) | {
                    "observedGeneration": generation,
                    "conditions": [ended],
                }

    def image(self, which: tuple[str, str] = STABLE) -> str | None:
        """The image of a Deployment's pods."""
        live = self.live.get(which)
        return live["spec"]["template"]["spec"]["containers"][0]["image"] if live is not None else None

    @property
    def rollout(self) -> Manifest:
        """The field of the resource's status."""
        found: Manifest = self.live[RESOURCE].get("status", {}).get("rollout", {})
        return found

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition; empty when there is none."""
        conditions = self.live[RESOURCE]["status"]["conditions"]
        return next(((one["status"], one["reason"]) for one in conditions if one["type"] == kind), ("", ""))

    async def get(self, kind: str, _namespace: str, name: str) -> Manifest | None:
        return copy.deepcopy(await self._request(lambda: self.live.get((kind, name))))

    async def serves(self, _kind: str) -> bool:
        return True

    async def pods(self, _namespace: str, _selector: Mapping[str, str]) -> list[Manifest]:
        return []

    async def metadata(self, kind: str, _namespace: str, _selector: Mapping[str, str]) -> list[Manifest]:
        return await self._request(lambda: [live for (of, _), live in self.live.items() if of == kind])

    async def apply(self, manifest: Manifest) -> Manifest:
        return copy.deepcopy(await self._request(lambda: self._put(manifest)))

    async def create(self, manifest: Manifest) -> Manifest:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if (kind, name) in self.live:
            raise KubernetesError(409, "exists")
        return await self._request(lambda: self._put(manifest))

    async def delete(self, kind: str, _namespace: str, name: str, uid: str) -> None:
        assert self.live[kind, name]["metadata"]["uid"] == uid
        self.writes.append((kind, name))
        await self._request(lambda: self.live.pop((kind, name)))

    async def apply_status(self, manifest: Manifest) -> None:
        def put() -> None:
            self.live[RESOURCE] = self.live[RESOURCE] | {"status": manifest["status"]}

        self.writes.append(("status", "payments"))
        await self._request(put)

    async def would_accept(self, _: Manifest) -> bool:
        return True

    def _put(self, manifest: Manifest) -> Manifest:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        before = self.live.get((kind, name))
        self._uid += before is None
        head: Manifest = {"uid": f"uid-{self._uid}", "generation": 1} if before is None else before["metadata"]
        spec = (before or {}).get("spec", {}) | manifest.get("spec", {})
        changed = before is not None and spec != before.get("spec", {})
        head = head | manifest["metadata"] | {"generation": head["generation"] + changed}
        self.live[kind, name] = (
            (before or {}) | copy.deepcopy(manifest) | {"metadata": head} | ({"spec": spec} if spec else {})
        )
        self.writes.append((kind, name))
        return self.live[kind, name]

    async def _request(self, act: Callable[[], T]) -> T:
        if self.dies_in is None:
            return act()
        self.dies_in -= 1
        if self.dies_in > 0:
            return act()
        self.dies_in = None
        if self.after:
            act()
        raise Killed
