"""What the workers of a connection report → the connection's status (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rochallor_operator.runtime.text import listed, one_line
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rochallor_operator.names import Key, Manifest
    from rochallor_operator.runtime.metrics import Condition

_FAILS: Final = {
    Reason.ENGINE_UNREACHABLE: ("gets no answer from the engine", "get no answer from the engine"),
    Reason.ENGINE_REFUSES: ("is refused by the engine", "are refused by the engine"),
    Reason.KAFKA_UNREACHABLE: ("gets no answer from Kafka", "get no answer from Kafka"),
}
"""Reasons of workers that a connection can be the cause of, the worst first, as words about one or several workers."""
_NAMED: Final = 5
"""The most workers that a message names."""


def connection_status(live: Manifest, workers: Mapping[Key, Iterable[Condition]], now: str) -> Manifest:
    """The whole status of a live connection, by the conditions of the workers that name it. now is RFC 3339."""
    generation = live["metadata"]["generation"]
    value, reason, message = _reachable({key: _report(conditions) for key, conditions in workers.items()})
    old: Manifest = next(iter(live.get("status", {}).get("conditions", [])), {})
    return {
        "observedGeneration": generation,
        "workers": len(workers),
        "conditions": [
            {
                "type": "Reachable",
                "status": value,
                "reason": str(reason),
                "message": one_line(message),
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == value else now,
            }
        ],
    }


def _report(conditions: Iterable[Condition]) -> Reason | None:
    """What a worker says of its engine; None when it says nothing, for example because it has no pods."""
    found = list(conditions)
    reasons = {condition.reason for condition in found if condition.kind in {"Ready", "Progressing", "Degraded"}}
    failing = next((reason for reason in _FAILS if reason in reasons), None)
    if failing is not None:
        return failing
    ready = any(condition[:3] == ("Ready", "True", Reason.AVAILABLE) for condition in found)
    return Reason.REACHED if ready else None


def _reachable(reports: Mapping[Key, Reason | None]) -> tuple[str, Reason, str]:
    total = len(reports)
    if not total:
        return "Unknown", Reason.NOT_REPORTED, "no worker names it"
    for reason, (one, several) in _FAILS.items():
        names = sorted(str(key) for key, report in reports.items() if report == reason)
        if names:
            verb = one if len(names) == 1 else several
            return "False", reason, f"{len(names)} of {total} workers {verb}: {listed(names, _NAMED)}"
    reached = sum(report == Reason.REACHED for report in reports.values())
    if not reached:
        return "Unknown", Reason.NOT_REPORTED, f"none of {total} workers has ready pods"
    return "True", Reason.REACHED, f"{reached} of {total} workers reach{'es' if reached == 1 else ''} the engine"
