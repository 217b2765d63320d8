"""Changes of conditions → Kubernetes Events for `kubectl describe` (pure)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.names import API_VERSION, KIND, MANAGER, Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONDITIONS: Final = ("Ready", "Progressing", "Degraded")
_NO_EVENT: Final = "Healthy"
"""The reason of Degraded from the start. A return to it needs no Event: Ready has one then."""


def transitions(resource: Mapping[str, Any], after: Sequence[Manifest], now: str) -> list[Manifest]:
    """One Event for each new reason, even if several conditions have it.

    An Event's name is derived from the state before it: if the operator is killed after writing the Event and before
    writing the status, it makes the same Event again and the API server refuses it (409).
    """
    metadata = resource["metadata"]
    known = {old["reason"] for old in _watched(resource.get("status", {}).get("conditions", []))} | {_NO_EVENT}
    news: dict[str, Manifest] = {}
    for condition in _watched(after):
        if condition["reason"] not in known:
            news.setdefault(condition["reason"], condition)
    return [_event(metadata, condition, _is_problem(reason, after), now) for reason, condition in news.items()]


def _watched(conditions: Sequence[Manifest]) -> list[Manifest]:
    return [condition for condition in conditions if condition["type"] in CONDITIONS]


def _is_problem(reason: str, after: Sequence[Manifest]) -> bool:
    """Whether something is stuck for this reason, rather than in progress or as wanted."""
    states = {(item["type"], item["status"]) for item in after if item["reason"] == reason}
    return ("Degraded", "True") in states or {("Ready", "False"), ("Progressing", "False")} <= states


def _event(metadata: Mapping[str, Any], condition: Manifest, problem: bool, now: str) -> Manifest:
    name, namespace = metadata["name"], metadata["namespace"]
    origin = f"{metadata['uid']} {metadata['resourceVersion']} {condition['reason']}"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": f"{name}.{hashlib.sha256(origin.encode()).hexdigest()[:16]}"},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "namespace": namespace,
            "name": name,
            "uid": metadata["uid"],
        },
        "type": "Warning" if problem else "Normal",
        "reason": condition["reason"],
        "message": condition["message"],
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
    }
