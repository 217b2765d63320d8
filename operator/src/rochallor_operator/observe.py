"""Live objects → what they mean (pure)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rochallor_operator.names import Manifest

_IMAGE_TROUBLE: Final = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
_STARTING: Final = {"ContainerCreating", "PodInitializing"}


@dataclass(frozen=True)
class Trouble:
    """Why pods don't come up: one word, and a sentence that names the pod."""

    reason: str
    message: str


@dataclass(frozen=True)
class Rollout:
    """How far a Deployment is. Counts are pods."""

    wanted: int
    total: int
    updated: int
    ready: int
    available: int
    observed: bool
    """Whether the Deployment controller has seen the present specification; before that the counts are old."""
    deadline_exceeded: str | None
    """The controller's sentence when there was no progress for the Deployment's deadline."""
    creation_failure: str | None
    """The controller's sentence when pods can't be created at all."""

    @property
    def complete(self) -> bool:
        """All pods are of the present specification and available, and no old one is left."""
        return self.observed and self.total == self.updated == self.available == self.wanted


def rollout(deployment: Mapping[str, Any]) -> Rollout:
    """Read a live Deployment."""
    status = deployment.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    progressing = conditions.get("Progressing", {})
    failure = conditions.get("ReplicaFailure", {})
    return Rollout(
        wanted=deployment["spec"].get("replicas", 1),
        total=status.get("replicas", 0),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
        observed=status.get("observedGeneration", 0) >= deployment["metadata"]["generation"],
        deadline_exceeded=progressing.get("message", "") if progressing.get("status") == "False" else None,
        creation_failure=failure.get("message", "") if failure.get("status") == "True" else None,
    )


def autoscaler_trouble(live: Mapping[str, Any]) -> Trouble | None:
    """What a HorizontalPodAutoscaler or a ScaledObject says about itself."""
    conditions = {condition["type"]: condition for condition in live.get("status", {}).get("conditions") or []}
    works = conditions.get("ScalingActive") or conditions.get("Ready") or {}
    able, fallback = conditions.get("AbleToScale", {}), conditions.get("Fallback", {})
    for failed, bad in ((able, "False"), (works, "False"), (fallback, "True")):
        if failed.get("status") == bad:
            return Trouble(Reason.METRICS_UNAVAILABLE, failed.get("message") or failed.get("reason", ""))
    if works.get("status") != "True":
        return Trouble(Reason.STARTING, "the autoscaler has not reported yet")
    return None


def owns_replicas(live: Mapping[str, Any], manager: str) -> bool:
    """Whether a field manager owns the replicas of a Deployment."""
    return any(
        entry["manager"] == manager and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in live["metadata"].get("managedFields", [])
    )


def trouble(pods: Iterable[Manifest]) -> Trouble | None:
    """The first trouble among the newest generation of pods, or None.

    Pods of an older template are left out: while a broken version is being replaced by a repaired one, its pods still
    crash, and that no longer matters.
    """
    living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    if not living:
        return None
    newest = max(living, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
    template = _template_hash(newest)
    current = sorted(
        (pod for pod in living if _template_hash(pod) == template), key=lambda pod: str(pod["metadata"]["name"])
    )
    return next((found for pod in current if (found := _pod_trouble(pod)) is not None), None)


def _template_hash(pod: Manifest) -> str | None:
    labels: Mapping[str, str] = pod["metadata"].get("labels", {})
    return labels.get("pod-template-hash")


def _pod_trouble(pod: Manifest) -> Trouble | None:
    name = pod["metadata"]["name"]
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Trouble(Reason.UNSCHEDULABLE, f"pod {name}: {condition.get('message', 'no node takes it')}")
    containers: Sequence[Manifest] = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    for container in containers:
        found = _container_trouble(container)
        if found is not None:
            return Trouble(found.reason, f"pod {name}: {found.message}")
    return None


def _container_trouble(container: Manifest) -> Trouble | None:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason = waiting.get("reason")
    if reason in _IMAGE_TROUBLE:
        # The kubelet alternates between the words and the texts of its back-off; the image is what stays.
        return Trouble(Reason.IMAGE_PULL, f"image {container.get('image', '')!r} can't be pulled")
    # How its last run ended stays told as long as the pod lives; once it has started again that is history.
    before = {} if container.get("started") else container.get("lastState", {})
    ended = state.get("terminated") or before.get("terminated")
    if not container.get("ready", False) and ended is not None and ended.get("exitCode", 0) != 0:
        return Trouble(Reason.CRASH_LOOP, _last_words(ended))
    if reason == Reason.CRASH_LOOP:
        return Trouble(Reason.CRASH_LOOP, "the container ends again and again; its log says why")
    if reason is not None and reason not in _STARTING:
        return Trouble(reason, waiting.get("message") or f"the container is waiting: {reason}")
    return None


def _last_words(ended: Manifest) -> str:
    """The sentence with which a container ended: its termination message, or the event of its last JSON log line."""
    lines = [line for line in ended.get("message", "").splitlines() if line.strip()]
    if not lines:
        return f"the container ended with {ended.get('reason', 'Error')} (exit code {ended['exitCode']})"
    last = lines[-1].strip()
    try:
        record = json.loads(last)
    except ValueError:
        return str(last)
    return str(record["event"]) if isinstance(record, dict) and "event" in record else str(last)
