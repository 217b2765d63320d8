"""The status of pods, as the kubelet and the scheduler write it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from rochallor_operator.observe import Problem, rollout
from rochallor_operator.pods.problems import of_template, problem, stuck
from unit.operator.samples import deployment, pod

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> str:
    """A moment before NOW, as Kubernetes writes it."""
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def container(**state: object) -> Manifest:
    return {"containerStatuses": [{"name": "worker", "image": "worker:1", "ready": False} | state]}


CRASHED = {"terminated": {"exitCode": 2, "reason": "Error", "message": "No module named 'handlers'\n"}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, None),
        ({"containerStatuses": [{"ready": True, "state": {"running": {}}}]}, None),
        (container(state={"waiting": {"reason": "ContainerCreating"}}), None),
        (container(state={"running": {}}), None),
        # Once restarted and ready, an old crash no longer counts.
        ({"containerStatuses": [{"ready": True, "state": {"running": {}}, "lastState": CRASHED}]}, None),
        (
            container(state={"terminated": {"exitCode": 0, "reason": "Completed"}}),
            Problem("CrashLoopBackOff", "the container exited with Completed (exit code 0)"),
        ),
        (container(state=CRASHED), Problem("CrashLoopBackOff", "No module named 'handlers'")),
        (
            container(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=CRASHED),
            Problem("CrashLoopBackOff", "No module named 'handlers'"),
        ),
        # The condition doesn't flap while a crashing container is being restarted.
        (
            container(state={"running": {}}, lastState=CRASHED),
            Problem("CrashLoopBackOff", "No module named 'handlers'"),
        ),
        (
            container(state={"running": {}}, lastState=CRASHED, started=False),
            Problem("CrashLoopBackOff", "No module named 'handlers'"),
        ),
        # A crash weeks ago isn't why a worker that has started is not ready today.
        (container(state={"running": {}}, lastState=CRASHED, started=True), None),
        (
            container(state={"waiting": {"reason": "CrashLoopBackOff"}}),
            Problem("CrashLoopBackOff", "the container keeps exiting; its log says why"),
        ),
        (
            container(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            Problem("CrashLoopBackOff", "the container exited with OOMKilled (exit code 137)"),
        ),
        (
            container(state={"waiting": {"reason": "ErrImagePull", "message": "rpc error …"}}),
            Problem("ImagePullBackOff", "image 'worker:1' can't be pulled"),
        ),
        (
            container(state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off …"}}),
            Problem("ImagePullBackOff", "image 'worker:1' can't be pulled"),
        ),
        (
            container(state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}),
            Problem("CreateContainerConfigError", 'secret "x" not found'),
        ),
        (
            container(state={"waiting": {"reason": "RunContainerError"}}),
            Problem("RunContainerError", "the container is waiting: RunContainerError"),
        ),
        (
            container(state={"waiting": {"reason": "Available\x1b[2J"}}),
            Problem("PodsNotReady", "the container is waiting: Available\x1b[2J"),
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
                ]
            },
            Problem("Unschedulable", "0/1 nodes"),
        ),
    ],
)
def test_what_a_pods_status_means(status: Manifest, expected: Problem | None) -> None:
    found = problem([pod("p-1", **status)], NOW)
    if expected is None:
        assert found is None
    else:
        assert found == Problem(expected.reason, f"pod p-1: {expected.message}")


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
def test_why_a_container_exited_is_a_sentence_for_people(message: str, sentence: str) -> None:
    state = {"terminated": {"exitCode": 2, "reason": "Error", "message": message}}
    assert problem([pod("p-1", **container(state=state))], NOW) == Problem("CrashLoopBackOff", f"pod p-1: {sentence}")


def restarted(seconds: float, *, times: int = 1, ready: bool = True, **ended: Any) -> Manifest:
    """A container that restarted this many seconds ago, with this many restarts."""
    end = {"exitCode": 7, "reason": "Error", "finishedAt": ago(seconds)} | ended
    state = {"state": {"running": {}}, "lastState": {"terminated": end}, "started": True}
    return {"containerStatuses": [{"name": "proxy", "ready": ready, "restartCount": times} | state]}


@pytest.mark.parametrize(
    ("seconds", "times", "history"),
    [(59, 1, False), (61, 1, True), (119, 2, False), (121, 2, True), (599, 9, False), (601, 9, True), (601, 999, True)],
)
@pytest.mark.parametrize("ready", [True, False])
def test_a_container_that_has_just_restarted_is_not_healthy(
    seconds: float, times: int, history: bool, ready: bool
) -> None:
    """A liveness probe that kills after 6 s, or a sidecar that dies every 25 s, is ready most of the time."""
    found = problem([pod("p-1", **restarted(seconds, times=times, ready=ready))], NOW)
    sentence = "pod p-1: container 'proxy': the container exited with Error (exit code 7)"
    assert found == (None if history else Problem("CrashLoopBackOff", sentence))


def test_a_container_that_exited_with_0_and_restarted_is_not_healthy_either() -> None:
    """A worker stopped by its liveness probe drains and exits with 0."""
    found = problem([pod("p-1", **restarted(1, exitCode=0, reason="Completed"))], NOW)
    sentence = "pod p-1: container 'proxy': the container exited with Completed (exit code 0)"
    assert found == Problem("CrashLoopBackOff", sentence)


def test_a_time_that_the_kubelet_does_not_know_is_null() -> None:
    assert problem([pod("p-1", **restarted(1, finishedAt=None))], NOW) is None
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": None}
    started = pod("p-1", created=ago(60), startTime=None, conditions=[unready], containerStatuses=[PROXY])
    assert stuck(progress("NewReplicaSetAvailable"), [started], NOW) is None


def test_an_init_container_that_has_finished_is_no_problem() -> None:
    done = {"name": "migrate", "ready": True, "restartCount": 1, "state": {"terminated": {"exitCode": 0}}}
    failed = {"terminated": {"exitCode": 1, "finishedAt": ago(5)}}
    assert problem([pod("p-1", initContainerStatuses=[done | {"lastState": failed}])], NOW) is None


def test_an_init_container_is_named_with_the_reason_of_its_exit() -> None:
    ended = {"exitCode": 3, "reason": "Error", "message": "no such table\n"}
    init = {"name": "migrate", "ready": False, "restartCount": 1, "state": {"terminated": ended}}
    found = problem([pod("p-1", initContainerStatuses=[init])], NOW)
    assert found == Problem("CrashLoopBackOff", "pod p-1: container 'migrate': no such table")


def with_image(name: str, template: str, image: str, created: str = "2026-01-01T00:00:00Z") -> Manifest:
    """A pod into which admission has put more than its template has."""
    containers = [{"name": "worker", "image": image}, {"name": "injected", "image": "mesh:1"}]
    made = pod(name, created=created, template=template)
    made["metadata"]["labels"]["rochallor.io/worker"] = "payments"
    return made | {"spec": {"containers": containers, "nodeName": "n-1"}}


def being_replaced(updated: int, total: int) -> Manifest:
    live = deployment(2, replicas=total, updatedReplicas=updated)
    live["spec"]["template"] = {
        "metadata": {"labels": {"rochallor.io/worker": "payments"}},
        "spec": {"containers": [{"name": "worker", "image": "worker:2"}]},
    }
    return live


def test_the_pods_of_the_current_template_count_whatever_their_age() -> None:
    """A broken version is rolled out, then a pod of the old one is evicted and recreated: it is the newest pod."""
    new = with_image("b", "7e", "worker:2", "2026-01-02T00:00:00Z")
    evicted = with_image("a", "7d", "worker:1", "2026-01-03T00:00:00Z")
    for pods in ([new, evicted], [evicted, new]):
        assert of_template(pods, being_replaced(1, 2)) == [new]


def test_before_there_is_a_pod_of_the_current_template_none_counts() -> None:
    """A repaired version may have to wait, such as for a quota; the crashes of the old version say nothing about it."""
    assert of_template([with_image("a", "7d", "worker:1")], being_replaced(0, 1)) == []
    assert of_template([], being_replaced(1, 1)) == []


def test_when_all_are_of_the_current_template_all_that_are_not_terminating_count() -> None:
    pods = [with_image(name, "7e", "registry/worker@sha256:2") for name in ("b", "a", "c")]
    pods[2]["metadata"]["deletionTimestamp"] = "2026-01-03T00:00:01Z"
    assert [item["metadata"]["name"] for item in of_template(pods, being_replaced(2, 2))] == ["a", "b"]


def running(*containers: Manifest, ready: str = "False", since: float = 300, **status: Any) -> Manifest:
    """A pod that started an hour ago, and has been ready or not for so many seconds."""
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": ago(since)}
    conditions = [condition | status.pop("why", {})]
    started = {"startTime": ago(3600)} | status
    made = pod("p-1", created=ago(3600), conditions=conditions, containerStatuses=list(containers), **started)
    probe = {"readinessProbe": {"httpGet": {"path": "/wrong", "port": 9090}}}
    made["spec"] = {
        "nodeName": "n-1",
        "initContainers": [{"name": "mesh", "restartPolicy": "Always"}, {"name": "migrate"}],
        "containers": [{"name": "worker"} | probe, {"name": "proxy", "readinessProbe": {"exec": {}}}],
    }
    return made


WELL = {"name": "worker", "ready": True, "started": True, "state": {"running": {}}}
PROXY = {"name": "proxy", "ready": False, "started": True, "state": {"running": {}}}
MESH = {"name": "mesh", "ready": True, "started": True, "state": {"running": {}}}
GATE = {"reason": "ReadinessGatesNotReady", "message": 'condition of pod readiness gate "lb" does not exist.'}
WAITING = {"waiting": {"reason": "PodInitializing"}}


@pytest.mark.parametrize(
    ("live", "why"),
    [
        (running(WELL, PROXY), "container 'proxy' runs, but its readiness probe fails"),
        (running(WELL | {"ready": False}), "container 'worker' runs, but its readiness probe (/wrong) fails"),
        (
            running(WELL | {"ready": False, "started": False}),
            "container 'worker' runs, but its startup probe has not succeeded",
        ),
        (running(WELL | {"ready": False, "state": WAITING}), "container 'worker' does not run: PodInitializing"),
        (running(WELL | {"ready": False, "state": {}}), "container 'worker' does not run: it has exited"),
        (running(WELL, why=GATE), 'condition of pod readiness gate "lb" does not exist.'),
        (running(WELL), "node 'n-1' does not report"),
        (
            running(initContainerStatuses=[MESH, {"name": "migrate", "state": {"running": {}}}]),
            "init container 'migrate' still runs",
        ),
        (
            running(initContainerStatuses=[MESH, {"name": "migrate", "state": WAITING}]),
            "init container 'migrate' has not started",
        ),
        (
            running(initContainerStatuses=[MESH | {"started": False}, {"name": "migrate", "state": WAITING}]),
            "init container 'mesh' has not started",
        ),
        (running(WELL, ready="True", since=3), "ready again, but not yet for 10 s"),
        (running(WELL, ready="True", since=11), None),
    ],
)
def test_why_a_pod_is_not_ready_after_its_rollout(live: Manifest, why: str | None) -> None:
    found = stuck(progress("NewReplicaSetAvailable"), [live], NOW)
    assert found == (None if why is None else Problem("PodsNotReady", f"pod p-1: {why}"))
    assert stuck(progress("ReplicaSetUpdated"), [live], NOW) is None, "while pods are replaced, that is expected"


def progress(reason: str, *, status: str = "True") -> Any:
    condition = {"type": "Progressing", "status": status, "reason": reason, "message": "timed out"}
    live = deployment(1, replicas=1, updatedReplicas=1, conditions=[condition])
    live["spec"] |= {"progressDeadlineSeconds": 600, "minReadySeconds": 10}
    return rollout(live)


@pytest.mark.parametrize(("age", "lasts"), [(30, False), (590, False), (610, True)])
def test_a_pod_that_starts_is_given_the_time_of_a_rollout(age: float, lasts: bool) -> None:
    """After the last rollout more pods start too: when it is scaled, or one is evicted."""
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": ago(age - 1)}
    started = pod("p-1", created=ago(age), startTime=ago(age - 1), conditions=[unready], containerStatuses=[PROXY])
    assert (stuck(progress("NewReplicaSetAvailable"), [started], NOW) is not None) is lasts


def test_a_pod_that_has_just_become_ready_is_given_its_time_too() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": ago(2)}
    started = pod("p-1", created=ago(30), startTime=ago(29), conditions=[ready], containerStatuses=[WELL])
    assert stuck(progress("NewReplicaSetAvailable"), [started], NOW) is None


def test_a_rollout_without_progress_names_pod_and_container() -> None:
    hanging = running(initContainerStatuses=[MESH, {"name": "migrate", "state": {"running": {}}}])
    late = progress("ProgressDeadlineExceeded", status="False")
    sentence = "no progress for 600 s: pod p-1: init container 'migrate' still runs"
    assert stuck(late, [hanging], NOW) == Problem("ProgressDeadlineExceeded", sentence)
    assert stuck(late, [], NOW) == Problem("ProgressDeadlineExceeded", "timed out")
