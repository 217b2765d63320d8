from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from rochallor_operator.observe import Trouble, autoscaler_trouble, owns_replicas, rollout, trouble
from unit.operator.samples import deployment, pod

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest


def complete(wanted: int) -> Manifest:
    return {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted}


def container(**state: object) -> Manifest:
    return {"containerStatuses": [{"name": "worker", "image": "worker:1", "ready": False} | state]}


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


def test_the_controllers_sentences_are_kept() -> None:
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


CRASHED = {"terminated": {"exitCode": 2, "reason": "Error", "message": "No module named 'handlers'\n"}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, None),
        ({"containerStatuses": [{"ready": True, "state": {"running": {}}}]}, None),
        (container(state={"waiting": {"reason": "ContainerCreating"}}), None),
        (container(state={"running": {}}), None),
        # Once started anew and ready, an old crash no longer counts.
        ({"containerStatuses": [{"ready": True, "state": {"running": {}}, "lastState": CRASHED}]}, None),
        (container(state={"terminated": {"exitCode": 0}}), None),
        (container(state=CRASHED), Trouble("CrashLoopBackOff", "No module named 'handlers'")),
        (
            container(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=CRASHED),
            Trouble("CrashLoopBackOff", "No module named 'handlers'"),
        ),
        # The condition doesn't flap while a crashing container is just being tried again.
        (
            container(state={"running": {}}, lastState=CRASHED),
            Trouble("CrashLoopBackOff", "No module named 'handlers'"),
        ),
        (
            container(state={"running": {}}, lastState=CRASHED, started=False),
            Trouble("CrashLoopBackOff", "No module named 'handlers'"),
        ),
        # A crash of weeks ago isn't why a worker that has started is not ready today.
        (container(state={"running": {}}, lastState=CRASHED, started=True), None),
        (
            container(state={"waiting": {"reason": "CrashLoopBackOff"}}),
            Trouble("CrashLoopBackOff", "the container ends again and again; its log says why"),
        ),
        (
            container(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            Trouble("CrashLoopBackOff", "the container ended with OOMKilled (exit code 137)"),
        ),
        (
            container(state={"waiting": {"reason": "ErrImagePull", "message": "rpc error …"}}),
            Trouble("ImagePullBackOff", "image 'worker:1' can't be pulled"),
        ),
        (
            container(state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off …"}}),
            Trouble("ImagePullBackOff", "image 'worker:1' can't be pulled"),
        ),
        (
            container(state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}),
            Trouble("CreateContainerConfigError", 'secret "x" not found'),
        ),
        (
            container(state={"waiting": {"reason": "RunContainerError"}}),
            Trouble("RunContainerError", "the container is waiting: RunContainerError"),
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
                ]
            },
            Trouble("Unschedulable", "0/1 nodes"),
        ),
    ],
)
def test_what_a_pods_status_means(status: Manifest, expected: Trouble | None) -> None:
    found = trouble([pod("p-1", **status)])
    if expected is None:
        assert found is None
    else:
        assert found == Trouble(expected.reason, f"pod p-1: {expected.message}")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("first\nthe last line\n\n", "the last line"),
        (
            '{"event": "earlier"}\n' + json.dumps({"event": "handlers 'a:b': no such module", "level": "error"}),
            "handlers 'a:b': no such module",
        ),
        ('{"level": "error"}', '{"level": "error"}'),
        ("[1, 2]", "[1, 2]"),
        ('{"event": tru', '{"event": tru'),
    ],
)
def test_the_last_words_of_a_container_are_a_sentence_for_people(message: str, sentence: str) -> None:
    state = {"terminated": {"exitCode": 2, "reason": "Error", "message": message}}
    assert trouble([pod("p-1", **container(state=state))]) == Trouble("CrashLoopBackOff", f"pod p-1: {sentence}")


def test_only_living_pods_of_the_newest_template_count() -> None:
    crashed = container(state=CRASHED)
    old = pod("a", created="2026-01-01T00:00:00Z", template="old", **crashed)
    new = pod("b", created="2026-01-02T00:00:00Z", template="new")
    broken = pod("c", created="2026-01-01T00:00:01Z", template="new", **crashed)
    gone = pod("d", created="2026-01-03T00:00:00Z", template="old", **crashed)
    gone["metadata"]["deletionTimestamp"] = "2026-01-03T00:00:01Z"
    assert trouble([]) is None
    assert trouble([gone]) is None
    assert trouble([old, new, gone]) is None
    assert trouble([old]) == Trouble("CrashLoopBackOff", "pod a: No module named 'handlers'")
    assert trouble([broken, old, new]) == Trouble("CrashLoopBackOff", "pod c: No module named 'handlers'")


def says(kind: str, status: str, message: str = "words") -> Manifest:
    return {"type": kind, "status": status, "reason": "Why", "message": message}


STARTING = Trouble("Starting", "the autoscaler has not reported yet")
UNAVAILABLE = Trouble("MetricsUnavailable", "words")


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
        ([says("Ready", "False", "")], Trouble("MetricsUnavailable", "Why")),
    ],
)
def test_what_an_autoscaler_says_about_itself(conditions: list[Manifest] | None, expected: Trouble | None) -> None:
    assert autoscaler_trouble({"status": {"conditions": conditions}}) == expected


def test_an_autoscaler_without_a_status_is_starting() -> None:
    assert autoscaler_trouble({}) == STARTING


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
