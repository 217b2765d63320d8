from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rochallor_operator.status.events import transitions
from unit.operator.samples import resource

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

NOW = "2026-01-01T00:00:00Z"


def conditions(ready: str, progressing: str, degraded: str = "False Healthy") -> list[Manifest]:
    """Each is a status and a reason."""
    found = []
    for kind, verdict in {"Ready": ready, "Progressing": progressing, "Degraded": degraded}.items():
        status, reason = verdict.split()
        found.append({"type": kind, "status": status, "reason": reason, "message": f"{kind} says"})
    return found


FRESH: list[Manifest] = []
ROLLING = conditions("False RollingOut", "True RollingOut")
AVAILABLE = conditions("True Available", "False Available")
SUSPENDED = conditions("True Suspended", "False Suspended")
CRASHING = conditions("False CrashLoopBackOff", "False CrashLoopBackOff")
REFUSED = conditions("False Forbidden", "False Forbidden", "True Forbidden")
SUSPENDING = conditions("True Suspended", "True RollingOut")
READY_BUT_REFUSED = conditions("True Available", "False Available", "True Forbidden")


def reported(before: list[Manifest], after: list[Manifest]) -> list[str]:
    events = transitions(resource() | {"status": {"conditions": before}}, after, NOW)
    return [f"{event['type']} {event['reason']}" for event in events]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (FRESH, ROLLING, ["Normal RollingOut"]),
        (FRESH, REFUSED, ["Warning Forbidden"]),
        (ROLLING, AVAILABLE, ["Normal Available"]),
        (AVAILABLE, CRASHING, ["Warning CrashLoopBackOff"]),
        (AVAILABLE, READY_BUT_REFUSED, ["Warning Forbidden"]),
        (CRASHING, AVAILABLE, ["Normal Available"]),
        (REFUSED, AVAILABLE, ["Normal Available"]),
        (AVAILABLE, SUSPENDED, ["Normal Suspended"]),
        (AVAILABLE, SUSPENDING, ["Normal Suspended", "Normal RollingOut"]),
        (SUSPENDING, SUSPENDED, []),
        (AVAILABLE, AVAILABLE, []),
        (REFUSED, REFUSED, []),
    ],
)
def test_a_reason_is_reported_when_it_is_new(
    before: list[Manifest], after: list[Manifest], expected: list[str]
) -> None:
    assert reported(before, after) == expected


def test_another_message_is_no_transition() -> None:
    assert reported(ROLLING, [item | {"message": "1 of 2"} for item in ROLLING]) == []


def test_other_conditions_have_no_event() -> None:
    other = {"type": "AutoscalerReady", "status": "False", "reason": "KedaNotInstalled", "message": ""}
    assert reported(AVAILABLE, [*AVAILABLE, other]) == []


def test_the_same_transition_has_the_same_name_and_the_next_one_another() -> None:
    def name(version: str) -> str:
        worker = resource()
        worker["metadata"]["resourceVersion"] = version
        (event,) = transitions(worker, ROLLING, NOW)
        return str(event["metadata"]["name"])

    assert name("7") == name("7") != name("8")


def test_the_fields_that_kubectl_describe_needs() -> None:
    (event,) = transitions(resource(), ROLLING, NOW)
    assert event["involvedObject"] == {
        "apiVersion": "rochallor.io/v1alpha1",
        "kind": "RochallorWorker",
        "namespace": "shop",
        "name": "payments",
        "uid": "uid-1",
    }
    assert (event["message"], event["metadata"]["namespace"]) == ("Ready says", "shop")
