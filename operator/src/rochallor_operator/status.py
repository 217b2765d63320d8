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
    ready = previous.get("Ready", {})
    was_ready = (ready.get("status"), ready.get("observedGeneration")) == ("True", generation)
    verdicts = {
        "Ready": _ready(seen, degraded, progressing, was_ready=was_ready),
        "Progressing": progressing,
        "Degraded": degraded,
    }
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
        return _Verdict(False, *_at_rest(seen.worker, rollout, seen.autoscaler))
    if seen.trouble is not None:
        return _Verdict(False, seen.trouble.reason, seen.trouble.message)
    if rollout.deadline_exceeded is not None:
        return _Verdict(False, Reason.PROGRESS_DEADLINE_EXCEEDED, rollout.deadline_exceeded)
    return _Verdict(True, Reason.ROLLING_OUT, _progress(rollout))


def _ready(seen: Observation, degraded: _Verdict, progressing: _Verdict, *, was_ready: bool) -> _Verdict:
    worker, rollout = seen.worker, seen.rollout
    if not degraded.status and worker is not None and rollout is not None:
        if rollout.wanted == 0:
            # Zero pods on purpose is as wanted from the moment the Deployment says so; the last ones may still drain.
            ready = rollout.observed and worker.least_replicas == 0
        else:
            ready = rollout.complete or _enough(worker, rollout, progressing, was_ready=was_ready)
        if ready:
            return _Verdict(True, *_at_rest(worker, rollout, seen.autoscaler))
    return _Verdict(False, progressing.reason, progressing.message)


def _enough(worker: Worker, rollout: Rollout, progressing: _Verdict, *, was_ready: bool) -> bool:
    """Whether an autoscaler's fewest pods are there: that more start, find no room or end makes them no less ready."""
    return (
        worker.autoscaling is not None
        # A step of the autoscaler is a change of the Deployment too, as a new template is.
        and (rollout.observed or was_ready)
        and rollout.updated == rollout.total
        and rollout.available >= max(1, worker.least_replicas)
        and progressing.reason in {Reason.ROLLING_OUT, Reason.UNSCHEDULABLE}
    )


def _at_rest(worker: Worker, rollout: Rollout, autoscaler: Aside | None) -> tuple[Reason, str]:
    """Reason and message when there are as many pods as wanted."""
    if worker.spec.suspend:
        return Reason.SUSPENDED, "no pods, because spec.suspend is true"
    if rollout.wanted == 0:
        return Reason.SCALED_TO_ZERO, _why_none(worker, autoscaler)
    return Reason.AVAILABLE, f"{min(rollout.available, rollout.wanted)} of {rollout.wanted} pods available"


def _why_none(worker: Worker, autoscaler: Aside | None) -> str:
    if worker.autoscaling is None:
        return "no pods, because spec.replicas is 0"
    if worker.least_replicas > 0:
        return f"no pods, although autoscaling.minReplicas is {worker.least_replicas}"
    if autoscaler is None or autoscaler.refused or autoscaler.trouble:
        return "no pods, and the autoscaler is in trouble: see AutoscalerReady"
    return "no pods, because the autoscaler needs none"


def _progress(rollout: Rollout) -> str:
    if not rollout.observed:
        return "the Deployment has been changed"
    done = min(rollout.updated, rollout.available)
    if done >= rollout.wanted:
        return f"{rollout.total} pods, {rollout.wanted} wanted"
    return f"{done} of {rollout.wanted} pods updated and available"
