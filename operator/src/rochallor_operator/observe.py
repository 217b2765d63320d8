"""Live objects → what they mean, and everything that a reconcile observes (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rochallor_operator.names import TEMPLATE_HASH
from rochallor_operator.rollout.state import UNFINISHED
from rochallor_operator.status.reasons import FROM_WORKERS, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rochallor_operator.errors import DegradedError
    from rochallor_operator.names import Manifest
    from rochallor_operator.rollout.state import State
    from rochallor_operator.spec.worker import Worker


@dataclass(frozen=True)
class Problem:
    """Why something doesn't work: a reason, and a sentence that names the pod if it is about one."""

    reason: str
    message: str


@dataclass(frozen=True)
class Rollout:
    """The progress of a Deployment. Counts are pods."""

    wanted: int
    total: int
    updated: int
    ready: int
    available: int
    observed: bool
    """Whether the Deployment controller has seen the current specification; before that the counts are outdated."""
    deadline_exceeded: str | None
    """The controller's message when there was no progress for the Deployment's deadline."""
    creation_failure: str | None
    """The controller's message when pods can't be created at all."""
    rolled_out: bool
    """Whether the controller calls the last rollout finished. It stays so when pods fail or are scaled afterwards."""
    paused: bool
    """Whether someone has paused rollouts with `kubectl rollout pause`."""
    deadline: float
    """Seconds after which a rollout without progress counts as stuck."""
    min_ready: float
    """Seconds for which a pod must be ready before it is available."""

    @property
    def complete(self) -> bool:
        """Whether all pods are of the current specification and available, and no old pod is left."""
        return self.observed and self.total == self.updated == self.available == self.wanted


@dataclass(frozen=True)
class Addon:
    """A child that pods work without: a problem with it is a condition of its own and never affects Ready."""

    kind: str
    name: str
    refused: DegradedError | None = None
    """Why it isn't in place as the spec asks; tried again."""
    bounds: tuple[int, int] | None = None
    """The minimum and maximum number of pods, if it is an autoscaler in place."""
    problem: Problem | None = None
    """The problem that it reports once it is in place; an event of it shows a change."""


@dataclass(frozen=True)
class Verdict:
    """Whether the jobs that wait in the engine's database are served; None when that is not known."""

    served: bool | None
    reason: str
    message: str


@dataclass(frozen=True)
class Observation:
    """Everything that the status is computed from. worker is None when the spec is invalid, rollout when there is no
    Deployment, autoscaler and pod_monitor when there should be none, backlog when the spec names no database."""

    worker: Worker | None
    rollout: Rollout | None
    problem: Problem | None
    """Why the Deployment's pods don't start, don't stay up or aren't ready."""
    degraded: DegradedError | None
    """What is wrong around the Deployment. It never affects Ready by itself."""
    autoscaler: Addon | None = None
    pod_monitor: Addon | None = None
    backlog: Verdict | None = None
    warning: Problem | None = None
    """A problem although the pods work. It is Degraded's reason if there is no other one, and never affects Ready."""
    blocked: DegradedError | None = None
    """Why the Deployment isn't as the spec asks."""
    postponed: str | None = None
    """Why it doesn't have the newest content of what its pods use yet."""
    handlers: Manifest | None = None
    """Which version of a ConfigMap with handlers it has; None when the handlers are elsewhere, or it has none yet."""
    state: State | None = None
    """That of a canary rollout; None with another strategy."""

    @property
    def on_trial(self) -> bool:
        """Whether a canary rollout goes on, or would if it knew more."""
        return self.state is not None and self.state.phase in UNFINISHED

    @property
    def refused(self) -> bool:
        """Whether something could not be put in place."""
        addons = (self.autoscaler, self.pod_monitor)
        degraded = self.blocked or self.degraded
        refused = degraded is not None and degraded.reason not in FROM_WORKERS
        return refused or any(addon is not None and addon.refused for addon in addons)

    @property
    def settled(self) -> bool:
        """Whether nothing is expected to change by itself."""
        if self.worker is None:
            return True
        if self.postponed is not None or self.on_trial:
            return False
        return not self.refused and self.problem is None and self.rollout is not None and self.rollout.complete


def rollout(deployment: Mapping[str, Any]) -> Rollout:
    """Read a live Deployment."""
    status = deployment.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    progressing = conditions.get("Progressing", {})
    failure = conditions.get("ReplicaFailure", {})
    total, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    return Rollout(
        wanted=deployment["spec"].get("replicas", 1),
        total=total,
        updated=updated,
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        observed=status.get("observedGeneration", 0) >= deployment["metadata"]["generation"],
        deadline_exceeded=progressing.get("message", "") if progressing.get("status") == "False" else None,
        creation_failure=failure.get("message", "") if failure.get("status") == "True" else None,
        rolled_out=progressing.get("reason") == "NewReplicaSetAvailable" and updated == total,
        paused=deployment["spec"].get("paused", False),
        deadline=deployment["spec"].get("progressDeadlineSeconds", 600),
        min_ready=deployment["spec"].get("minReadySeconds", 0),
    )


def newest_pods(deployment: Mapping[str, Any]) -> dict[str, str]:
    """The label of the pods of a Deployment's newest template, {} when it is not known.

    The Deployment controller names the ReplicaSet, `<deployment>-<hash>`, in the messages of the condition Progressing.
    Reading it there avoids the need to list ReplicaSets.
    """
    conditions = deployment.get("status", {}).get("conditions", [])
    sentence = next((item.get("message", "") for item in conditions if item["type"] == "Progressing"), "")
    found = re.search(rf'"{re.escape(deployment["metadata"]["name"])}-([a-z0-9]+)"', sentence)
    return {TEMPLATE_HASH: found[1]} if found else {}


def autoscaler_problem(live: Mapping[str, Any]) -> Problem | None:
    """The problem that a HorizontalPodAutoscaler or a ScaledObject reports in its status."""
    conditions = {condition["type"]: condition for condition in live.get("status", {}).get("conditions") or []}
    paused = conditions.get("Paused", {})
    if paused.get("status") == "True":
        return Problem(Reason.PAUSED, paused.get("message") or "the ScaledObject is paused by its annotation")
    works = conditions.get("ScalingActive") or conditions.get("Ready") or {}
    bad_signs = (("AbleToScale", "False"), (works.get("type"), "False"), ("HPAActive", "False"), ("Fallback", "True"))
    for kind, bad in bad_signs:
        failed = conditions.get(kind, {})
        if failed.get("status") == bad:
            return Problem(Reason.METRICS_UNAVAILABLE, failed.get("message") or failed.get("reason", ""))
    if works.get("status") != "True":
        return Problem(Reason.STARTING, "the autoscaler has not reported yet")
    return None


def scales_from_zero(live: Mapping[str, Any]) -> bool:
    """Whether a HorizontalPodAutoscaler whose pods are at zero will start them again.

    From a zero that is not its own doing, it says ScalingDisabled. Before its first report nothing is known.
    """
    conditions = live.get("status", {}).get("conditions") or []
    reasons = [condition.get("reason") for condition in conditions if condition["type"] == "ScalingActive"]
    return reasons not in ([], ["ScalingDisabled"])


def not_supported(wish: Manifest, live: Manifest) -> Problem | None:
    """What an API server has dropped from an autoscaler: a tolerance, where HPAConfigurableTolerance is off."""
    if wish["kind"] != "HorizontalPodAutoscaler":
        return None
    kept = live["spec"].get("behavior", {})
    for direction, rules in wish["spec"].get("behavior", {}).items():
        if "tolerance" in rules and "tolerance" not in kept.get(direction, {}):
            sentence = (
                f"this cluster's HorizontalPodAutoscalers have no tolerance: remove it from behavior.{direction}, or"
                " use Kubernetes 1.35 or newer"
            )
            return Problem(Reason.NOT_SUPPORTED, sentence)
    return None


def is_paused(live: Mapping[str, Any]) -> bool:
    """Whether someone has paused a ScaledObject: KEDA leaves its pods alone. (With paused-replicas it sets them.)"""
    annotations = live["metadata"].get("annotations", {})
    value = annotations.get("autoscaling.keda.sh/paused", "false")
    return value.lower() not in {"false", "f", "0"} and "autoscaling.keda.sh/paused-replicas" not in annotations


def bounds(kind: str, live: Mapping[str, Any]) -> tuple[int, int]:
    """The minimum and maximum number of pods that a live autoscaler may choose."""
    spec = live["spec"]
    if kind == "ScaledObject":
        return spec.get("minReplicaCount", 0), spec.get("maxReplicaCount", 100)
    return spec.get("minReplicas", 1), spec["maxReplicas"]


def owns_replicas(live: Mapping[str, Any], manager: str) -> bool:
    """Whether a field manager owns the replicas of a Deployment."""
    return any(
        entry["manager"] == manager and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in live["metadata"].get("managedFields", [])
    )
