"""Why a worker's pods don't start, don't stay up or are no longer ready, from their status (pure)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.names import TEMPLATE_HASH, WORKER_CONTAINER
from rochallor_operator.observe import Problem
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rochallor_operator.names import Manifest
    from rochallor_operator.observe import Rollout

FIRST_QUIET_S: Final = 60.0
QUIET_CAP_S: Final = 600.0
"""How long a container must have run for its restarts to no longer count: a minute after the first, twice as long after
each further one, and at most as long as the kubelet's own backoff remembers them."""
_START_S: Final = 5.0
"""A Ready that became False this soon after the pod's start has been False from the start."""
_IMAGE_PROBLEMS: Final = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
_STARTING: Final = {"ContainerCreating", "PodInitializing"}
_REASON: Final = re.compile(r"[A-Z][A-Za-z]{0,63}")
"""The form of the kubelet's reasons; others who may write a pod's status may write anything."""


def of_template(pods: Iterable[Manifest], deployment: Manifest) -> list[Manifest]:
    """The pods of a Deployment's current template that aren't terminating, by name.

    While there are pods of other templates too, it is those closest to the template: admission may have changed all of
    them a little. The age of pods proves nothing: an evicted pod of an old template is recreated.
    """
    status = deployment.get("status", {})
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    families: defaultdict[str, list[Manifest]] = defaultdict(list)
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        if "deletionTimestamp" not in pod["metadata"]:
            families[pod["metadata"].get("labels", {}).get(TEMPLATE_HASH, "")].append(pod)
    if updated == 0 or not families:
        return []
    if updated == total:
        return [pod for family in families.values() for pod in family]
    template = deployment["spec"]["template"]
    return min(families.values(), key=lambda family: _differences(template, family[0]))


def _differences(wish: Any, live: Any) -> int:
    """How many values of a template a pod does not have."""
    if isinstance(wish, dict):
        theirs = live if isinstance(live, dict) else {}
        return sum(_differences(value, theirs.get(field)) for field, value in wish.items())
    if isinstance(wish, list) and all(isinstance(item, dict) and "name" in item for item in wish):
        named = {item.get("name"): item for item in live or [] if isinstance(item, dict)}
        return sum(_differences(item, named.get(item["name"])) for item in wish)
    return int(wish != live)


def problem(pods: Iterable[Manifest], now: datetime) -> Problem | None:
    """The problem of the first pod that doesn't start or doesn't stay up, or None."""
    return next((found for pod in pods if (found := _pod_problem(pod, now)) is not None), None)


def stuck(progress: Rollout, pods: Sequence[Manifest], now: datetime) -> Problem | None:
    """Why running pods aren't ready although the rollout has ended, or has made no progress for its deadline."""
    if progress.deadline_exceeded is not None:
        why = next((why for pod in pods if (why := _why_not_ready(pod)) is not None), None)
        sentence = progress.deadline_exceeded if why is None else f"no progress for {progress.deadline:g} s: {why}"
        return Problem(Reason.PROGRESS_DEADLINE_EXCEEDED, sentence)
    if not progress.rolled_out:
        return None
    old = [pod for pod in pods if not _starting(pod, progress.deadline, now)]
    why = next((why for pod in old if (why := _why_not_ready(pod) or _why_not_available(pod, progress, now))), None)
    return None if why is None else Problem(Reason.PODS_NOT_READY, why)


def _pod_problem(pod: Manifest, now: datetime) -> Problem | None:
    name = pod["metadata"]["name"]
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        return Problem(Reason.UNSCHEDULABLE, f"pod {name}: {scheduled.get('message', 'it fits on no node')}")
    for container in _containers(pod):
        found = _container_problem(container, now)
        if found is not None:
            return Problem(found.reason, f"pod {name}: {_named(container)}{found.message}")
    return None


def _named(container: Manifest) -> str:
    """A container's name as the start of a sentence; "" for the worker's own container."""
    name = container.get("name", WORKER_CONTAINER)
    return "" if name == WORKER_CONTAINER else f"container {name!r}: "


def _container_problem(container: Manifest, now: datetime) -> Problem | None:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason = waiting.get("reason")
    if reason in _IMAGE_PROBLEMS:
        # The kubelet alternates between the reasons and texts of its backoff; only the image stays the same.
        return Problem(Reason.IMAGE_PULL, f"image {container.get('image', '')!r} can't be pulled")
    ended = state.get("terminated") or _last_end(container, now)
    if ended is not None:  # with any exit code: a worker stopped by its liveness probe exits with 0
        return Problem(Reason.CRASH_LOOP, _last_words(ended))
    if reason == Reason.CRASH_LOOP:
        return Problem(Reason.CRASH_LOOP, "the container keeps exiting; its log says why")
    if reason is not None and reason not in _STARTING:
        known = reason if _REASON.fullmatch(reason) else Reason.PODS_NOT_READY
        return Problem(known, waiting.get("message") or f"the container is waiting: {reason}")
    return None


def _last_end(container: Manifest, now: datetime) -> Manifest | None:
    """How a container's last run ended, until it has restarted and run long enough without another end."""
    ended: Manifest | None = container.get("lastState", {}).get("terminated")
    if ended is None or "terminated" in container.get("state", {}):
        return None
    if not container.get("ready", False) and not container.get("started", False):
        return ended
    restarts = max(1, container.get("restartCount", 1))
    quiet = min(FIRST_QUIET_S * 2 ** min(restarts - 1, 10), QUIET_CAP_S)
    at = ended.get("finishedAt")  # null when the kubelet doesn't know it
    return ended if at is not None and _seconds(at, now) < quiet else None


def _last_words(ended: Manifest) -> str:
    """Why a container exited: the last line of its termination message, or the event in it if it is a JSON log line."""
    lines = [line for line in ended.get("message", "").splitlines() if line.strip()]
    if not lines:
        return f"the container exited with {ended.get('reason', 'Error')} (exit code {ended['exitCode']})"
    last = lines[-1].strip()
    try:
        record = json.loads(last)
    except ValueError:
        return str(last)
    return str(record["event"]) if isinstance(record, dict) and "event" in record else str(last)


def _starting(pod: Manifest, patience: float, now: datetime) -> bool:
    """Whether a pod is becoming ready for the first time, and has not taken longer than a rollout may take."""
    created = pod["metadata"]["creationTimestamp"]
    began = pod.get("status", {}).get("startTime") or created
    ready = _condition(pod, "Ready")
    took = _seconds(began, datetime.fromisoformat(ready.get("lastTransitionTime") or began))
    if ready.get("status") == "True":
        return took <= patience
    return took <= _START_S and _seconds(created, now) <= patience


def _why_not_ready(pod: Manifest) -> str | None:
    """A sentence about a pod that isn't ready."""
    ready = _condition(pod, "Ready")
    if ready.get("status") == "True":
        return None
    name = pod["metadata"]["name"]
    if ready.get("reason") == "ReadinessGatesNotReady":
        return f"pod {name}: {ready.get('message') or 'a readiness gate is closed'}"
    reasons = [*_initial(pod), *_unready(pod)]
    if reasons:
        return f"pod {name}: {reasons[0]}"
    node = pod.get("spec", {}).get("nodeName")
    return f"pod {name}: {f'node {node!r} does not report' if node else 'it has no node'}"


def _why_not_available(pod: Manifest, progress: Rollout, now: datetime) -> str | None:
    """A sentence about a pod that became ready again only recently."""
    since = _condition(pod, "Ready").get("lastTransitionTime")
    if since is None or _seconds(since, now) >= progress.min_ready:
        return None
    return f"pod {pod['metadata']['name']}: ready again, but not yet for {progress.min_ready:g} s"


def _initial(pod: Manifest) -> Iterator[str]:
    """The state of each unfinished init container; one that always restarts is finished when it has started."""
    stays = {item["name"] for item in pod.get("spec", {}).get("initContainers", []) if "restartPolicy" in item}
    for container in pod.get("status", {}).get("initContainerStatuses", []):
        name, state = container["name"], container.get("state", {})
        if name in stays:
            if not container.get("started", False):
                yield f"init container {name!r} has not started"
        elif "terminated" not in state:
            yield f"init container {name!r} {'still runs' if 'running' in state else 'has not started'}"


def _unready(pod: Manifest) -> Iterator[str]:
    probes = {item["name"]: item.get("readinessProbe", {}) for item in pod.get("spec", {}).get("containers", [])}
    for container in pod.get("status", {}).get("containerStatuses", []):
        if container.get("ready", False):
            continue
        name, state = container["name"], container.get("state", {})
        if "running" not in state:
            waiting = state.get("waiting", {})
            why = waiting.get("message") or waiting.get("reason") or "it has exited"
            yield f"container {name!r} does not run: {why}"
        elif not container.get("started", True):
            yield f"container {name!r} runs, but its startup probe has not succeeded"
        else:
            path = probes.get(name, {}).get("httpGet", {}).get("path")
            yield f"container {name!r} runs, but its readiness probe{f' ({path})' if path else ''} fails"


def _containers(pod: Manifest) -> list[Manifest]:
    """The containers that may have a problem: not init containers that have finished."""
    status = pod.get("status", {})
    initial = status.get("initContainerStatuses", [])
    undone = [item for item in initial if item.get("state", {}).get("terminated", {}).get("exitCode") != 0]
    return [*undone, *status.get("containerStatuses", [])]


def _condition(pod: Manifest, kind: str) -> Mapping[str, Any]:
    conditions: Iterable[Mapping[str, Any]] = pod.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _seconds(earlier: str, later: datetime) -> float:
    return (later - datetime.fromisoformat(earlier)).total_seconds()
