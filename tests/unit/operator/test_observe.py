from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rochallor_operator.observe import Problem, autoscaler_problem, bounds, newest_pods, owns_replicas, rollout
from unit.operator.samples import deployment

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest


def complete(wanted: int) -> Manifest:
    return {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (deployment(2, **complete(2)), True),
        (deployment(0), True),
        (deployment(2), False),
        (deployment(2, **complete(2) | {"replicas": 3}), False),
        (deployment(2, **complete(2) | {"availableReplicas": 1}), False),
        (deployment(2, **complete(2) | {"updatedReplicas": 1}), False),
        (deployment(2, **complete(2) | {"observedGeneration": 4}), False),
        ({**deployment(2), "status": {}}, False),
    ],
)
def test_a_rollout_is_complete_when_only_new_pods_are_left_and_all_are_available(
    live: Manifest, expected: bool
) -> None:
    assert rollout(live).complete is expected


def test_the_controllers_messages_are_kept() -> None:
    conditions = [
        {"type": "Progressing", "status": "False", "message": "has timed out progressing"},
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"},
    ]
    seen = rollout(deployment(2, conditions=conditions))
    assert (seen.deadline_exceeded, seen.creation_failure) == ("has timed out progressing", "exceeded quota")
    for condition, status in zip(conditions, ("True", "False"), strict=True):
        condition["status"] = status
    seen = rollout(deployment(2, conditions=conditions))
    assert (seen.deadline_exceeded, seen.creation_failure) == (None, None)


def says(kind: str, status: str, message: str = "words") -> Manifest:
    return {"type": kind, "status": status, "reason": "Why", "message": message}


STARTING = Problem("Starting", "the autoscaler has not reported yet")
UNAVAILABLE = Problem("MetricsUnavailable", "words")


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, STARTING),
        ([], STARTING),
        ([says("AbleToScale", "True")], STARTING),
        ([says("AbleToScale", "False")], UNAVAILABLE),
        ([says("ScalingActive", "True"), says("ScalingLimited", "True")], None),
        ([says("AbleToScale", "True"), says("ScalingActive", "False")], UNAVAILABLE),
        ([says("Ready", "Unknown"), says("Fallback", "Unknown")], STARTING),
        ([says("Ready", "True"), says("Active", "False"), says("Fallback", "False")], None),
        ([says("Ready", "False")], UNAVAILABLE),
        ([says("Ready", "True"), says("Fallback", "True")], UNAVAILABLE),
        ([says("Ready", "False", "")], Problem("MetricsUnavailable", "Why")),
        ([says("Ready", "True"), says("HPAActive", "False")], UNAVAILABLE),
        ([says("Ready", "True"), says("HPAActive", "True"), says("Paused", "False")], None),
        ([says("Ready", "True"), says("Paused", "True")], Problem("Paused", "words")),
    ],
)
def test_the_problem_that_an_autoscaler_reports(conditions: list[Manifest] | None, expected: Problem | None) -> None:
    assert autoscaler_problem({"status": {"conditions": conditions}}) == expected


def test_an_autoscaler_without_a_status_is_starting() -> None:
    assert autoscaler_problem({}) == STARTING


def test_who_owns_the_replicas() -> None:
    live = deployment(2)
    assert not owns_replicas(live, "us")
    live["metadata"]["managedFields"] = [
        {"manager": "us", "fieldsV1": {"f:metadata": {}}},
        {"manager": "us", "fieldsV1": {"f:spec": {"f:template": {}}}},
        {"manager": "them", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    ]
    assert not owns_replicas(live, "us")
    assert owns_replicas(live, "them")


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("HorizontalPodAutoscaler", {"minReplicas": 2, "maxReplicas": 5}, (2, 5)),
        ("HorizontalPodAutoscaler", {"maxReplicas": 5}, (1, 5)),
        ("ScaledObject", {"minReplicaCount": 0, "maxReplicaCount": 7}, (0, 7)),
        ("ScaledObject", {}, (0, 100)),
    ],
)
def test_the_bounds_that_are_in_force(kind: str, spec: Manifest, expected: tuple[int, int]) -> None:
    assert bounds(kind, {"spec": spec}) == expected


def progressing(reason: str, **status: int) -> Manifest:
    return deployment(2, conditions=[{"type": "Progressing", "status": "True", "reason": reason}], **status)


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (progressing("NewReplicaSetAvailable", **complete(2)), True),
        (progressing("NewReplicaSetAvailable", **complete(2) | {"availableReplicas": 0}), True),
        (progressing("NewReplicaSetAvailable", **complete(3) | {"availableReplicas": 1}), True),
        (progressing("NewReplicaSetAvailable", **complete(2) | {"updatedReplicas": 0}), False),
        (progressing("ReplicaSetUpdated", **complete(2)), False),
        (deployment(2, **complete(2)), False),
    ],
)
def test_a_rollout_that_has_ended_stays_so_when_pods_fail(live: Manifest, expected: bool) -> None:
    assert rollout(live).rolled_out is expected


@pytest.mark.parametrize(
    "sentence",
    [
        'ReplicaSet "payments-5d59d67564" is progressing.',
        'ReplicaSet "payments-5d59d67564" has successfully progressed.',
        'ReplicaSet "payments-5d59d67564" has timed out progressing.',
        'Created new replica set "payments-5d59d67564"',
        'Found new replica set "payments-5d59d67564"',
    ],
)
def test_the_deployment_says_which_pods_are_the_newest(sentence: str) -> None:
    live = deployment(2, conditions=[{"type": "Progressing", "status": "True", "message": sentence}])
    assert newest_pods(live) == {"pod-template-hash": "5d59d67564"}


@pytest.mark.parametrize("sentence", ["Deployment is paused", 'ReplicaSet "other-5d59d67564" is progressing.', ""])
def test_without_that_message_all_pods_count(sentence: str) -> None:
    live = deployment(2, conditions=[{"type": "Progressing", "status": "True", "message": sentence}])
    assert newest_pods(live) == newest_pods(deployment(2)) == {}
