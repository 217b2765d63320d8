"""What was observed → the resource's status (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rochallor_operator.names import Manifest, selector
from rochallor_operator.reasons import REPORTED, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rochallor_operator.errors import DegradedError
    from rochallor_operator.observe import Rollout, Trouble
    from rochallor_operator.spec import Worker


@dataclass(frozen=True)
class Aside:
    """A child that pods can live without: what goes wrong with it is a condition of its own and never flips Ready."""

    kind: str
    name: str
    refused: DegradedError | None = None
    """Why it isn't in place; tried again."""
    trouble: Trouble | None = None
    """What it says about itself once it is in place; its events tell when that changes."""


@dataclass(frozen=True)
class Observation:
    """Everything a status is made of. worker is None when the spec is invalid, rollout when there is no Deployment,
    autoscaler and pod_monitor when there should be none."""

    worker: Worker | None
    rollout: Rollout | None
    trouble: Trouble | None
    degraded: DegradedError | None
    autoscaler: Aside | None = None
    pod_monitor: Aside | None = None

    @property
    def refused(self) -> bool:
        """Whether something could not be put in place."""
        asides = (self.autoscaler, self.pod_monitor)
        refused = self.degraded is not None and self.degraded.reason not in REPORTED
        return refused or any(aside is not None and aside.refused for aside in asides)

    @property
    def settled(self) -> bool:
        """Whether nothing more is expected to happen by itself."""
        if self.worker is None:
            return True
        return not self.refused and self.rollout is not None and self.rollout.complete


@dataclass(frozen=True)
class _Verdict:
    status: bool
    reason: str
    message: str


def status(resource: Mapping[str, Any], seen: Observation, now: str) -> Manifest:
    """The whole status of a resource. now is RFC 3339; it is used only for conditions whose status changes."""
    metadata = resource["metadata"]
    generation = metadata["generation"]
    previous = {old["type"]: old for old in resource.get("status", {}).get("conditions", [])}
    degraded = _degraded(seen)
    progressing = _progressing(seen, degraded)
    verdicts = {"Ready": _ready(seen, degraded, progressing), "Progressing": progressing, "Degraded": degraded}
    for kind, aside in (("AutoscalerReady", seen.autoscaler), ("PodMonitorReady", seen.pod_monitor)):
        if aside is not None:
            verdicts[kind] = _aside(aside)
    conditions = []
    for kind, verdict in verdicts.items():
        value = str(verdict.status)
        old = previous.get(kind, {})
        conditions.append(
            {
                "type": kind,
                "status": value,
                "reason": str(verdict.reason),
                "message": verdict.message,
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == value else now,
            }
        )
    result: Manifest = {
        "observedGeneration": generation,
        "selector": ",".join(f"{key}={value}" for key, value in selector(metadata["name"]).items()),
        "conditions": conditions,
    }
    if seen.worker is not None:
        result["transport"] = seen.worker.spec.transport
        scaling = seen.worker.autoscaling
        if scaling is not None and seen.autoscaler is not None and seen.autoscaler.refused is None:
            result["autoscaler"] = {
                "kind": seen.autoscaler.kind,
                "name": seen.autoscaler.name,
                "minReplicas": scaling.min_replicas,
                "maxReplicas": scaling.max_replicas,
            }
    rollout = seen.rollout
    result["replicas"] = rollout.total if rollout else 0
    result["readyReplicas"] = rollout.ready if rollout else 0
    result["updatedReplicas"] = rollout.updated if rollout else 0
    result["availableReplicas"] = rollout.available if rollout else 0
    return result


def _aside(aside: Aside) -> _Verdict:
    if aside.refused is not None:
        return _Verdict(False, aside.refused.reason, str(aside.refused))
    if aside.trouble is not None:
        return _Verdict(False, aside.trouble.reason, aside.trouble.message)
    return _Verdict(True, Reason.IN_PLACE, f"{aside.kind} {aside.name!r} is in place and reports no trouble")


def _degraded(seen: Observation) -> _Verdict:
    if seen.degraded is not None:
        return _Verdict(True, seen.degraded.reason, str(seen.degraded))
    failure = seen.rollout.creation_failure if seen.rollout else None
    if failure is None:
        return _Verdict(False, Reason.HEALTHY, "nothing to put right")
    reason = Reason.POD_CREATION_FAILED
    if "exceeded quota" in failure:
        reason = Reason.QUOTA_EXCEEDED
    elif "forbidden" in failure:
        reason = Reason.FORBIDDEN
    return _Verdict(True, reason, failure)


def _progressing(seen: Observation, degraded: _Verdict) -> _Verdict:
    rollout = seen.rollout
    if degraded.status:
        return _Verdict(False, degraded.reason, degraded.message)
    if seen.worker is None or rollout is None:
        return _Verdict(True, Reason.ROLLING_OUT, "the Deployment is being created")
    if rollout.complete:
        return _at_rest(seen.worker, rollout)
    if seen.trouble is not None:
        return _Verdict(False, seen.trouble.reason, seen.trouble.message)
    if rollout.deadline_exceeded is not None:
        return _Verdict(False, Reason.PROGRESS_DEADLINE_EXCEEDED, rollout.deadline_exceeded)
    return _Verdict(True, Reason.ROLLING_OUT, _progress(rollout))


def _ready(seen: Observation, degraded: _Verdict, progressing: _Verdict) -> _Verdict:
    if not degraded.status and seen.worker is not None and seen.rollout is not None:
        # Zero pods on purpose is as wanted from the moment the Deployment says so; the last ones may still drain.
        at_rest = seen.rollout.observed and seen.rollout.wanted == 0 and seen.worker.replicas in {0, None}
        if at_rest or seen.rollout.complete:
            verdict = _at_rest(seen.worker, seen.rollout)
            return _Verdict(True, verdict.reason, verdict.message)
    return _Verdict(False, progressing.reason, progressing.message)


def _at_rest(worker: Worker, rollout: Rollout) -> _Verdict:
    if worker.spec.suspend:
        return _Verdict(False, Reason.SUSPENDED, "no pods, because spec.suspend is true")
    if rollout.wanted == 0:
        why = "spec.replicas is 0" if worker.autoscaling is None else "the autoscaler needs none"
        return _Verdict(False, Reason.SCALED_TO_ZERO, f"no pods, because {why}")
    return _Verdict(False, Reason.AVAILABLE, f"{rollout.available} of {rollout.wanted} pods available")


def _progress(rollout: Rollout) -> str:
    if not rollout.observed:
        return "the Deployment has been changed"
    done = min(rollout.updated, rollout.available)
    if done >= rollout.wanted:
        return f"{rollout.total} pods, {rollout.wanted} wanted"
    return f"{done} of {rollout.wanted} pods updated and available"
