"""Observation → the resource's status (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.names import Manifest, selector
from rochallor_operator.runtime.text import one_line
from rochallor_operator.status.reasons import Reason
from rochallor_operator.status.trial import OF_TRIAL, State, on_trial, stopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rochallor_operator.observe import Addon, Observation, Problem, Rollout
    from rochallor_operator.spec.worker import Worker


def status(resource: Mapping[str, Any], seen: Observation, now: str) -> Manifest:
    """The whole status of a resource. now is RFC 3339; it is used only for conditions whose status changes."""
    metadata = resource["metadata"]
    generation = metadata["generation"]
    previous = {old["type"]: old for old in resource.get("status", {}).get("conditions", [])}
    progressing = _progressing(seen)
    ready = _ready(seen, progressing, was_ready=was_ready(resource))
    progressing = on_trial(seen, progressing)
    states = {
        "Ready": ready,
        "Progressing": progressing,
        "Degraded": _warned(_degraded(seen), seen.warning),
    }
    states |= _for_programs(ready, progressing, stopped(seen))
    for kind, addon in (("AutoscalerReady", seen.autoscaler), ("PodMonitorReady", seen.pod_monitor)):
        if addon is not None:
            states[kind] = _addon(addon)
    if seen.backlog is not None:
        states["BacklogServed"] = State(seen.backlog.served, seen.backlog.reason, seen.backlog.message)
    conditions = []
    for kind, state in states.items():
        value = "Unknown" if state.status is None else str(state.status)
        old = previous.get(kind, {})
        conditions.append(
            {
                "type": kind,
                "status": value,
                "reason": str(state.reason),
                "message": one_line(state.message),  # most of them quote other programs
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == value else now,
            }
        )
    result: Manifest = {
        "observedGeneration": generation,
        "selector": ",".join(f"{key}={value}" for key, value in selector(metadata["name"]).items()),
        "conditions": conditions,
    }
    if seen.state is not None:
        result["rollout"] = seen.state.status(0 if seen.worker is None else len(seen.worker.spec.rollout.chosen_steps))
    if seen.worker is not None:
        result["transport"] = seen.worker.spec.transport
        if seen.handlers is not None:
            result["handlers"] = seen.handlers
        if seen.autoscaler is not None and seen.autoscaler.bounds is not None:
            least, most = seen.autoscaler.bounds
            result["autoscaler"] = {
                "kind": seen.autoscaler.kind,
                "name": seen.autoscaler.name,
                "minReplicas": least,
                "maxReplicas": most,
            }
    rollout = seen.rollout
    result["replicas"] = rollout.total if rollout else 0
    result["readyReplicas"] = rollout.ready if rollout else 0
    result["updatedReplicas"] = rollout.updated if rollout else 0
    result["availableReplicas"] = rollout.available if rollout else 0
    return result


def _for_programs(ready: State, progressing: State, stopped: State | None) -> dict[str, State]:
    """The condition for programs that know nothing of this resource, such as Flux and `helm --wait` (kstatus)."""
    if not ready.status:
        kind = "Reconciling" if progressing.status else "Stalled"
        return {kind: State(True, ready.reason, ready.message)}
    if progressing.reason in OF_TRIAL:
        return {"Reconciling": progressing}
    return {} if stopped is None else {"Stalled": stopped}


def was_ready(resource: Mapping[str, Any]) -> bool:
    """Whether a resource's status says that its current generation is ready."""
    conditions = resource.get("status", {}).get("conditions", [])
    ready: Mapping[str, Any] = next((item for item in conditions if item["type"] == "Ready"), {})
    return bool(ready.get("status") == "True" and ready.get("observedGeneration") == resource["metadata"]["generation"])


def _addon(addon: Addon) -> State:
    if addon.refused is not None:
        return State(False, addon.refused.reason, str(addon.refused))
    if addon.problem is not None:
        return State(False, addon.problem.reason, addon.problem.message)
    return State(True, Reason.IN_PLACE, f"{addon.kind} {addon.name!r} is in place and reports no problem")


def _degraded(seen: Observation) -> State:
    degraded = seen.blocked or seen.degraded
    if degraded is not None:
        return State(True, degraded.reason, str(degraded))
    return _no_pods(seen.rollout) or stopped(seen) or State(False, Reason.HEALTHY, "no problem")


def _no_pods(rollout: Rollout | None) -> State | None:
    """Why pods can't even be created."""
    failure = rollout.creation_failure if rollout else None
    if failure is None:
        return None
    reason = Reason.POD_CREATION_FAILED
    if "exceeded quota" in failure:
        reason = Reason.QUOTA_EXCEEDED
    elif "forbidden" in failure:
        reason = Reason.FORBIDDEN
    return State(True, reason, failure)


def _warned(degraded: State, warning: Problem | None) -> State:
    return degraded if degraded.status or warning is None else State(True, warning.reason, warning.message)


def _progressing(seen: Observation) -> State:
    rollout = seen.rollout
    if seen.blocked is not None:
        return State(False, seen.blocked.reason, str(seen.blocked))
    if seen.worker is None or rollout is None:
        return State(True, Reason.ROLLING_OUT, "the Deployment is being created")
    if seen.postponed is not None:
        return State(True, Reason.ROLLING_OUT, seen.postponed)
    if rollout.complete and seen.problem is None:
        return State(False, *_at_rest(seen.worker, rollout, seen.autoscaler))
    return _stuck(seen.worker, rollout, seen.problem) or State(True, Reason.ROLLING_OUT, _progress(rollout))


def _stuck(worker: Worker, rollout: Rollout, problem: Problem | None) -> State | None:
    """Why there is no further progress without intervention; None while there is."""
    failure = _no_pods(rollout)
    if failure is not None:
        return replace(failure, status=False)
    if problem is not None:
        return State(False, problem.reason, problem.message)
    if rollout.paused and rollout.observed and not rollout.rolled_out:
        resume = f"kubectl rollout resume deployment/{worker.name}"
        return State(False, Reason.PAUSED, f"the Deployment's rollout is paused: `{resume}` resumes it")
    if rollout.deadline_exceeded is not None:
        return State(False, Reason.PROGRESS_DEADLINE_EXCEEDED, rollout.deadline_exceeded)
    return None


def _ready(seen: Observation, progressing: State, *, was_ready: bool) -> State:
    worker, rollout = seen.worker, seen.rollout
    if seen.blocked is None and seen.postponed is None and worker is not None and rollout is not None:
        if rollout.wanted == 0:
            # Zero pods on purpose are ready as soon as the Deployment says so; the last pods may still drain.
            ready = rollout.observed and worker.least_replicas == 0
        else:
            complete = rollout.complete and seen.problem is None
            ready = complete or _enough(worker, rollout, progressing, was_ready=was_ready)
        if ready:
            return State(True, *_at_rest(worker, rollout, seen.autoscaler))
    return State(False, progressing.reason, progressing.message)


_STILL_READY: Final = {
    Reason.ROLLING_OUT,
    Reason.UNSCHEDULABLE,
    Reason.PODS_NOT_READY,
    Reason.QUOTA_EXCEEDED,
    Reason.FORBIDDEN,
    Reason.POD_CREATION_FAILED,
}


def _enough(worker: Worker, rollout: Rollout, progressing: State, *, was_ready: bool) -> bool:
    """Whether an autoscaler's minimum of pods is available: more pods that start, stop or don't fit change nothing."""
    return (
        worker.autoscaling is not None
        # A step of the autoscaler changes the Deployment too, just as a new template does.
        and (rollout.observed or was_ready)
        and rollout.updated == rollout.total
        and rollout.available >= max(1, worker.least_replicas)
        and progressing.reason in _STILL_READY
    )


def _at_rest(worker: Worker, rollout: Rollout, autoscaler: Addon | None) -> tuple[Reason, str]:
    """Reason and message when there are as many pods as wanted."""
    if worker.spec.suspend:
        return Reason.SUSPENDED, "no pods, because spec.suspend is true"
    if rollout.wanted == 0:
        return Reason.SCALED_TO_ZERO, _why_none(worker, autoscaler)
    return Reason.AVAILABLE, f"{min(rollout.available, rollout.wanted)} of {rollout.wanted} pods available"


def _why_none(worker: Worker, autoscaler: Addon | None) -> str:
    if worker.autoscaling is None:
        return "no pods, because spec.replicas is 0"
    if worker.least_replicas > 0:
        return f"no pods, although autoscaling.minReplicas is {worker.least_replicas}"
    if autoscaler is None or autoscaler.refused or autoscaler.problem:
        return "no pods, and the autoscaler has a problem: see AutoscalerReady"
    return "no pods, because the autoscaler needs none"


def _progress(rollout: Rollout) -> str:
    if not rollout.observed:
        return "the Deployment has been changed"
    done = min(rollout.updated, rollout.available)
    if done >= rollout.wanted:
        return f"{rollout.total} pods, {rollout.wanted} wanted"
    return f"{done} of {rollout.wanted} pods updated and available"
