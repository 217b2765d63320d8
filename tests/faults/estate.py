"""A namespace with resources on a real API server: their specs, and how they compare with the children.

No pod runs: whatever waits for a resource plays the kubelet and reports its pods as ready.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from cluster.controlplane import ControlPlane
from faults.result import Resources
from faults.suite import in_thread
from integration.operator.api import Api, RefusedError, has
from integration.operator.conftest import ACCOUNT, account_kubeconfig, installed
from integration.operator.process import Operator
from integration.operator.samples import environment, play_kubelet, pods, resource
from rochallor_operator.names import WORKER_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

    from faults.suite import Play, Trial
    from integration.operator.api import Object

REPLICAS = 2
WITHIN_S = 180.0
"""A resource that has not converged this long after the fault never will."""
ALWAYS = ("Deployment", "Service", "ServiceAccount")
"""Kinds of which every resource has one child."""


@dataclass(frozen=True)
class Plane:
    """A control plane with the chart installed, with an administrator's and the operator's access."""

    control: ControlPlane
    cluster: Api
    kubeconfig: Path


@contextmanager
def plane() -> Iterator[Plane]:
    """Run a control plane for one suite."""
    with ControlPlane() as control, installed(control) as cluster:
        yield Plane(control, cluster, account_kubeconfig(cluster, ACCOUNT))


@dataclass
class Estate:
    """Resources by name, with the parallelism in the spec of each."""

    plane: Plane
    api: Api
    size: int
    """The number of resources at first; at least 5."""
    wanted: dict[str, int] = field(default_factory=dict)
    unbudgeted: set[str] = field(default_factory=set)
    edits: Counter[str] = field(default_factory=Counter)
    _pods: dict[str, set[str]] = field(default_factory=dict)

    def operator(self, **settings: str) -> Operator:
        """Return an operator of this namespace, not started yet."""
        return Operator(self.plane.kubeconfig, namespaces=self.api.namespace, **settings)

    def impatient_operator(self, kubeconfig: Path | None = None) -> Operator:
        """Return one that allows its watch to be silent for only WATCH_LIMIT_S."""
        return Operator(kubeconfig or self.plane.kubeconfig, "faults.impatient", namespaces=self.api.namespace)

    def create(self, name: str) -> None:
        """Create a resource."""
        self.wanted[name] = 10
        budget = {"maxUnavailable": 1}
        self.api.create(resource(name, replicas=REPLICAS, parallelism=10, disruptionBudget=budget))

    def edit(self, name: str) -> None:
        """Change the parallelism, which rolls the pods."""
        self.wanted[name] += 1
        self.edits[name] += 1
        self.api.patch("RochallorWorker", name, {"spec": {"parallelism": self.wanted[name]}})

    def create_first(self) -> None:
        """Create the first resources, and wait until an operator has reconciled them."""
        for number in range(self.size):
            self.create(f"r-{number}")
        assert self._wait(self._converged)
        self._pods = {name: self._pod_ids(name) for name in self.wanted}

    def change(self) -> None:
        """Edit one resource twice, create one, delete one, drop a child from a spec, and delete a child.

        The other resources stay as they are.
        """
        self.edit("r-0")
        self.edit("r-0")
        self.create("new")
        del self.wanted["r-1"]
        self.api.delete("RochallorWorker", "r-1")
        self.unbudgeted.add("r-2")
        self.api.patch("RochallorWorker", "r-2", {"spec": {"disruptionBudget": None}})
        self.api.delete("Service", "r-3-metrics")

    def figures(self, operator: Operator, ended_at: float) -> Resources:
        """Wait until everything has converged, or never will; return the figures.

        The fault ended at `ended_at` (monotonic); from then on this operator must stay alive. The time to recover is
        the operator's; Kubernetes needs longer, to create pods and to collect garbage.
        """
        self._wait(self._reconciled)
        recovery = time.monotonic() - ended_at
        self._wait(self._converged)
        expected, there = self._expected(), self._children()
        return Resources(
            resources=len(self.wanted),
            unconverged=len(self.wanted.keys() - (self._as_asked() & self._ready())),
            lost=(expected - there).total(),
            duplicates=(there - expected).total(),
            rollouts=sum(map(self._needless, self.wanted)),
            crashes=int(operator.process.poll() is not None),
            recovery_s=recovery,
        )

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Play the kubelet until a condition holds; return whether it did in time."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            try:
                if condition():
                    return True
                play_kubelet(self.api, None)
            except RefusedError as error:
                if error.status != 429:  # an API server that was just restarted has not read all of its stores yet
                    raise
            time.sleep(0.2)
        return False

    def _reconciled(self) -> bool:
        """Whether the operator has done its part, to which the children of a deleted resource do not belong."""
        ours = Counter({child: count for child, count in self._children().items() if child[1] in self.wanted})
        pods = {("Pod", name) for name in self.wanted}
        return (
            self._as_asked() == self.wanted.keys()
            and all(ours[child] == count for child, count in self._expected().items() if child not in pods)
            and not any(ours["PodDisruptionBudget", name] for name in self.unbudgeted)
        )

    def _converged(self) -> bool:
        ready = self._as_asked() & self._ready() == self.wanted.keys()
        return ready and self._children() == self._expected()

    def _as_asked(self) -> set[str]:
        """Return the resources whose Deployment matches the spec."""
        found = {live["metadata"]["name"]: live for live in self.api.every("Deployment")}
        return {name for name, wish in self.wanted.items() if name in found and _parallelism(found[name]) == wish}

    def _ready(self) -> set[str]:
        """Return the resources that report all of their pods as available."""
        available = has("Ready", "True", "Available")
        return {live["metadata"]["name"] for live in self.api.every("RochallorWorker") if available(live)}

    def _expected(self) -> Counter[tuple[str, str]]:
        """Return how many children of each kind each resource should have."""
        counts = Counter({(kind, name): 1 for name in self.wanted for kind in ALWAYS})
        counts.update({("Pod", name): REPLICAS for name in self.wanted})
        counts.update({("PodDisruptionBudget", name): 1 for name in self.wanted.keys() - self.unbudgeted})
        return counts

    def _children(self) -> Counter[tuple[str, str]]:
        """Return how many it has, without those that are being deleted."""
        return Counter(
            (kind, live["metadata"]["labels"][WORKER_LABEL])
            for kind in (*ALWAYS, "PodDisruptionBudget", "Pod")
            for live in self.api.every(kind)
            if WORKER_LABEL in live["metadata"].get("labels", {}) and "deletionTimestamp" not in live["metadata"]
        )

    def _needless(self, name: str) -> int:
        """Count needless rollouts: more than there were edits, back to an older edit, or of the pods alone."""
        deployment = self.api.the("Deployment", name)
        sets = [live for live in self.api.every("ReplicaSet") if live["metadata"]["labels"][WORKER_LABEL] == name]
        rolled = [_parallelism(live) for live in sorted(sets, key=_revision)]
        back = sum(later <= earlier for earlier, later in pairwise(rolled))
        untouched = not self.edits[name] and name in self._pods
        replaced = untouched and self._pods[name] != self._pod_ids(name)
        generation: int = deployment["metadata"]["generation"]
        return max(0, generation - 1 - self.edits[name]) + back + replaced

    def _pod_ids(self, name: str) -> set[str]:
        return {pod["metadata"]["uid"] for pod in pods(self.api, name)}


def _parallelism(live: Object) -> int:
    return int(environment(live)["ROCHALLOR_PARALLELISM"])


def _revision(replica_set: Object) -> int:
    return int(replica_set["metadata"]["annotations"]["deployment.kubernetes.io/revision"])


@contextmanager
def estate(plane: Plane, trial: Trial) -> Iterator[Estate]:
    """Create a namespace, to hold a resource for every ten jobs of the trial."""
    name = f"faults-{uuid4().hex[:8]}"
    plane.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    with Api(plane.cluster.kubeconfig, name) as api:
        yield Estate(plane, api, trial.size.jobs // 10)


def lives_until(operator: Operator, wanted: Callable[[httpx.Response], bool], seconds: float) -> httpx.Response | None:
    """Poll /livez while the process lives, until an answer is as wanted; None if none was in time."""
    for _ in range(int(seconds * 4)):
        answer = operator.http("/livez")
        if wanted(answer):
            return answer
        with pytest.raises(subprocess.TimeoutExpired):
            operator.process.wait(0.25)
    return None


def on_an_estate(play: Callable[[Estate, Trial], Resources]) -> Play[Plane]:
    """Inject it on an estate of its own."""

    def played(plane: Plane, trial: Trial) -> Resources:
        with estate(plane, trial) as here:
            return play(here, trial)

    return in_thread(played)
