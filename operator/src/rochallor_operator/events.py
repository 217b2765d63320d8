"""What changed in the conditions → Kubernetes Events for `kubectl describe` (pure)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.names import API_VERSION, KIND, MANAGER, Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONDITIONS: Final = ("Ready", "Progressing", "Degraded")
MESSAGE_LIMIT: Final = 1024
"""Characters that the API server takes."""
_QUIET: Final = "Healthy"
"""What Degraded says from the start; its coming back is told by what Ready says then."""


def transitions(resource: Mapping[str, Any], after: Sequence[Manifest], now: str) -> list[Manifest]:
    """One Event for each reason that is new. Conditions share reasons; the second one to have it is no news.

    An Event's name follows from the state that it came from: when it has been written, but the operator was killed
    before it wrote the status, the same Event is made again and the API server refuses it (409).
    """
    metadata = resource["metadata"]
    told = {old["reason"] for old in _watched(resource.get("status", {}).get("conditions", []))} | {_QUIET}
    news: dict[str, Manifest] = {}
    for condition in _watched(after):
        if condition["reason"] not in told:
            news.setdefault(condition["reason"], condition)
    return [_event(metadata, condition, _is_trouble(reason, after), now) for reason, condition in news.items()]


def _watched(conditions: Sequence[Manifest]) -> list[Manifest]:
    return [condition for condition in conditions if condition["type"] in CONDITIONS]


def _is_trouble(reason: str, after: Sequence[Manifest]) -> bool:
    """Whether something is stuck for this reason, and not under way or as wanted."""
    verdicts = {(item["type"], item["status"]) for item in after if item["reason"] == reason}
    return ("Degraded", "True") in verdicts or {("Ready", "False"), ("Progressing", "False")} <= verdicts


def _event(metadata: Mapping[str, Any], condition: Manifest, trouble: bool, now: str) -> Manifest:
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
        "type": "Warning" if trouble else "Normal",
        "reason": condition["reason"],
        "message": condition["message"][:MESSAGE_LIMIT],
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
    }
