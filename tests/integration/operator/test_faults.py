"""Killed at any request, with others changing the resource, with the namespace deleted: always the same end state."""

from __future__ import annotations

import subprocess
from collections import Counter
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from integration.operator.api import Api, Object, RefusedError, condition, has
from integration.operator.conftest import CHART, helm
from integration.operator.process import Operator
from integration.operator.samples import NAME, make_available, play_kubelet, resource, until_available
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.controlplane import ControlPlane

pytestmark = pytest.mark.timeout(900)  # dozens of operators are started, one after another


def end_state(api: Api) -> Object:
    """What must be the same however often the operator was killed meanwhile."""
    worker = api.the("RochallorWorker", NAME)
    events = Counter(event["reason"] for event in api.every("Event") if event["involvedObject"]["name"] == NAME)
    return {
        "status": {name: value for name, value in worker["status"].items() if name != "conditions"},
        "conditions": {item["type"]: (item["status"], item["reason"]) for item in worker["status"]["conditions"]},
        "Deployment": api.the("Deployment", NAME)["spec"],
        "Service": api.the("Service", f"{NAME}-metrics")["spec"]["ports"],
        "generation": api.the("Deployment", NAME)["metadata"]["generation"],
        "reported twice": [
            reason for reason, count in events.items() if count > 1 and reason in {"RollingOut", "Available"}
        ],
        "kept on the resource": {"annotations", "finalizers"} & worker["metadata"].keys(),
    }


@pytest.fixture
def namespaces(cluster: Api) -> Iterator[list[Api]]:
    """New namespaces, as many as needed."""
    taken: list[Api] = []
    yield taken
    for api in taken:
        cluster.delete("Namespace", api.namespace)
        api.__exit__()


def fresh(cluster: Api, taken: list[Api]) -> Api:
    name = f"test-{uuid4().hex[:8]}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    taken.append(Api(cluster.kubeconfig, name))
    return taken[-1]


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_request_it_reaches_the_same_end(
    cluster: Api, kubeconfig: Path, namespaces: list[Api], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = fresh(cluster, namespaces)
    with Operator(kubeconfig, namespaces=api.namespace):
        api.create(resource())
        until_available(api)
        expected = end_state(api)
    for number in range(1, 100):
        api = fresh(cluster, namespaces)
        api.create(resource())
        monkeypatch.setenv("KILL_AT", f"{number} {when} {api.namespace}")
        with Operator(kubeconfig, module="integration.operator.killed", namespaces=api.namespace) as mortal:
            completed = not _dies(api, mortal)
        with Operator(kubeconfig, namespaces=api.namespace):
            until_available(api)
        assert end_state(api) == expected, f"killed {when} request {number}"
        if completed:
            assert number > 6, "fewer requests than there are writes"
            return
    pytest.fail("it never got through")


def _dies(api: Api, mortal: Operator) -> bool:
    """Let pods run until the operator dies; False when the resource is ready before."""
    while mortal.process.poll() is None:
        play_kubelet(api)
        if has("Ready", "True", "Available")(api.the("RochallorWorker", NAME)):
            return False
        with suppress(subprocess.TimeoutExpired):
            mortal.process.wait(0.05)
    assert mortal.process.returncode == -9
    return True


def test_two_field_managers_share_a_resource(api: Api, kubeconfig: Path) -> None:
    def wish(**spec: object) -> Object:
        return {
            "apiVersion": "rochallor.io/v1alpha1",
            "kind": "RochallorWorker",
            "metadata": {"name": NAME},
            "spec": spec,
        }

    with Operator(kubeconfig, namespaces=api.namespace):
        api.apply(resource(), "team")
        make_available(api, 1)
        api.apply(wish(parallelism=8), "platform")
        api.until_the("RochallorWorker", NAME, has("Progressing", "True", "RollingOut"))
        with pytest.raises(RefusedError, match='conflict with "platform"'):
            api.apply(resource(parallelism=9), "team")
        live = api.apply(resource(replicas=2), "team")
        assert (live["spec"]["parallelism"], live["spec"]["replicas"]) == (8, 2)
        until_available(api)
        managers = {
            (entry["manager"], entry.get("subresource"))
            for entry in api.the("RochallorWorker", NAME)["metadata"]["managedFields"]
        }
        assert managers == {("team", None), ("platform", None), ("rochallor-operator", "status")}


def test_a_namespace_full_of_resources_can_be_deleted(cluster: Api, kubeconfig: Path, namespaces: list[Api]) -> None:
    api = fresh(cluster, namespaces)
    names = [f"worker-{number}" for number in range(40)]
    with ExitStack() as stack, Operator(kubeconfig, log_level="DEBUG", namespaces=api.namespace) as operator:
        for name in names:
            api.create(resource(name))
        for name in names:
            api.until_the("Deployment", name, lambda _: True)
        namespaces.remove(api)
        stack.callback(api.__exit__)
        cluster.delete("Namespace", api.namespace)
        cluster.until("Namespace", api.namespace, lambda live: live is None, timeout=240)

        def forgotten(lines: list[Object]) -> bool:
            last = {line["resource"]: line["result"] for line in lines if line["event"] == "reconciled"}
            return len(last) == len(names) and set(last.values()) == {"settled"}

        operator.until(forgotten, timeout=90)
        wait_until(lambda: operator.metric("rochallor_operator_resources") == 0)
        wait_until(lambda: operator.metric("rochallor_operator_queue_depth") == 0)


def test_an_upgrade_and_a_downgrade_of_the_chart_leave_workers_alone(
    api: Api, cluster: Api, control_plane: ControlPlane, kubeconfig: Path
) -> None:
    crd = cluster.the("CustomResourceDefinition", "rochallorworkers.rochallor.io")["metadata"]["uid"]
    with Operator(kubeconfig, namespaces=api.namespace):
        api.create(resource())
        make_available(api, 1)
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    before = api.the("Deployment", NAME)
    try:
        helm(control_plane, "upgrade", "rochallor-operator", str(CHART), "--set", "image.tag=next,replicas=2")
        with Operator(
            kubeconfig, namespaces=api.namespace, name="rochallor-operator", leader_election="true"
        ) as next_one:
            next_one.event("watching")
            api.patch("RochallorWorker", NAME, {"spec": {"suspend": False}})
            api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    finally:
        helm(control_plane, "rollback", "rochallor-operator", "1")
    with Operator(kubeconfig, namespaces=api.namespace) as back:
        back.event("watching")
        api.patch("RochallorWorker", NAME, {"metadata": {"labels": {"seen": "yes"}}})
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    after = api.the("Deployment", NAME)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert cluster.the("CustomResourceDefinition", "rochallorworkers.rochallor.io")["metadata"]["uid"] == crd
    assert condition(api.the("RochallorWorker", NAME), "Degraded")["reason"] == "Healthy"
