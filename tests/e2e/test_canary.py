"""Canary rollouts on real pods, with a load: a bad version stops itself, a good one reaches all pods."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cluster import images, kafkapod, product
from e2e.instances import calls
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.kubectl import Kubectl

PODS = 6
RETRIES = 10
"""So many that no job fails permanently by chance."""
PER_S = 8
"""Instances that start per second."""
ROLLED_BACK_S = 90.0
PROMOTED_S = 240.0
SEEN_MOST = 0.05
"""The most of the load's jobs that a bad version may have run."""
PLAN: dict[str, Any] = {
    "strategy": "Canary",
    "steps": [{"share": "10%", "pause": "5s"}, {"share": "50%", "pause": "5s"}],
    "gate": {"minJobs": 20},
}
HANDLERS = """
import random
from rochallor_worker import Registry

registry = Registry()

@registry.handler("call")
def call(job):
    if random.random() < {failing}:
        raise ValueError("broken")
    return {{"version": "{version}", "left": job.retries_remaining}}
"""
V1 = HANDLERS.format(failing=0.0, version="v1")
DEFINITION = calls(RETRIES)


class Load:
    """Starts instances until the block ends, and lists them."""

    def __init__(self, engine: httpx.Client) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.started = 0

    def __enter__(self) -> Load:
        self._engine.post("/v1/definitions", json=DEFINITION).raise_for_status()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> list[dict[str, Any]]:
        """Stop, and wait until all instances have ended; returns them."""
        self._stop.set()
        self._thread.join()
        ended: list[dict[str, Any]] = []

        def all_ended() -> bool:
            with suppress(httpx.TransportError):
                ended[:] = self._listed()
                return all(item["status"] != "ACTIVE" for item in ended)
            return False

        wait_until(all_ended, 180, 1)
        return ended

    def _run(self) -> None:
        while not self._stop.wait(1 / PER_S):
            with suppress(httpx.TransportError):  # a forwarded connection may be cut
                self._engine.post("/v1/instances", json={"definitionId": "calls"}).raise_for_status()
                self.started += 1

    def _listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(200):
            query: dict[str, Any] = {"definitionId": "calls", "page": page, "pageSize": 200}
            items = self._engine.get("/v1/instances", params=query).raise_for_status().json()["items"] or []
            found += items
            if len(items) < 200:
                break
        return found


@pytest.fixture(params=["polled", "from Kafka"])
def worker(request: pytest.FixtureRequest, kubectl: Kubectl, apply_hello: Callable[..., None]) -> dict[str, Any]:
    """A namespace with an engine and the good first version of a worker, ready; returns the fields of its spec."""
    spec: dict[str, Any] = {
        "jobTypes": ["call"],
        "replicas": PODS,
        "parallelism": 4,
        "minReadySeconds": 1,
        "rollout": PLAN,
    }
    engine = product.HELLO / "engine.yaml"
    if request.param == "from Kafka":
        kafkapod.load_image()
        kafkapod.start(kubectl)
        kafkapod.create_topic(kubectl, "workflow.jobs.call", 5 * PODS)
        spec |= {"transport": "kafka", "kafka": {"bootstrapServers": "kafka:9092"}}
        engine = images.ROOT / "examples" / "kafka" / "engine.yaml"
    kubectl("apply", f"--filename={engine}")
    kubectl("rollout", "status", "deployment/dev-engine", "--timeout=180s")
    apply_hello(V1, **spec)
    with product.explained(kubectl, "deployment/hello"):
        kubectl("wait", "rw/hello", "--for=jsonpath={.status.rollout.phase}=Stable", "--timeout=180s")
        kubectl("wait", "rw/hello", "--for=condition=Ready", "--timeout=180s")
    return spec


@contextmanager
def loaded(kubectl: Kubectl) -> Iterator[Load]:
    """Instances start, and the first ones have ended."""
    with (
        kubectl.port_forward("service/dev-engine", 8080) as url,
        httpx.Client(base_url=url, timeout=60) as engine,
        Load(engine) as load,
    ):
        wait_until(lambda: load.started > 10 * PER_S)
        yield load


def rollout(kubectl: Kubectl) -> dict[str, Any]:
    """The state of the rollout."""
    state: dict[str, Any] = kubectl.json("get", "rw/hello")["status"].get("rollout", {})
    return state


def uids(kubectl: Kubectl) -> set[str]:
    """The stable pods."""
    pods = kubectl.json("get", "pods", "--selector=rochallor.io/worker=hello")["items"]
    return {pod["metadata"]["uid"] for pod in pods}


def until_phase(kubectl: Kubectl, phase: str, within: float) -> dict[str, Any]:
    """Wait for the phase of another version than the stable one; returns the state."""
    wait_until(lambda: rollout(kubectl).get("phase") == phase, within, 0.5)
    return rollout(kubectl)


def until_removed(kubectl: Kubectl) -> None:
    """Wait until no pod of the canary is left."""
    canary = "--selector=rochallor.io/canary=hello"
    wait_until(lambda: kubectl.json("get", "pods", canary)["items"] == [], 90, 1)


@pytest.mark.timeout(900)
def test_a_version_whose_handler_fails_is_rolled_back(
    kubectl: Kubectl, worker: dict[str, Any], apply_hello: Callable[..., None]
) -> None:
    before = uids(kubectl)
    with loaded(kubectl) as load:
        began = time.monotonic()
        apply_hello(HANDLERS.format(failing=0.3, version="v2"), **worker)
        state = until_phase(kubectl, "Failed", ROLLED_BACK_S)
        took = time.monotonic() - began
        until_removed(kubectl)
        assert uids(kubectl) == before
        wait_until(lambda: load.started > 120 * PER_S, 240)
        instances = load.end()
    print(f"rolled back after {took:.0f} s: {state['message']}")
    assert [instance for instance in instances if instance["status"] != "COMPLETED"] == []
    of_v2 = sum(instance["variables"]["version"] == "v2" for instance in instances)
    seen = of_v2 + state["canary"]["failures"]
    print(f"{seen} of {len(instances)} jobs saw the bad version")
    assert 0 < seen <= SEEN_MOST * len(instances)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("worker", ["polled"], indirect=True)
def test_a_good_version_is_promoted(kubectl: Kubectl, worker: dict[str, Any], apply_hello: Callable[..., None]) -> None:
    before = uids(kubectl)
    with loaded(kubectl) as load:
        apply_hello(HANDLERS.format(failing=0.0, version="v2"), **worker)
        until_phase(kubectl, "Progressing", 30)
        assert uids(kubectl) == before
        until_phase(kubectl, "Stable", PROMOTED_S)
        kubectl("wait", "rw/hello", "--for=condition=Ready", "--timeout=60s")
        until_removed(kubectl)
        assert not uids(kubectl) & before
        last = load.started
        wait_until(lambda: load.started > last + PER_S)
        instances = load.end()
    assert {instance["status"] for instance in instances} == {"COMPLETED"}
    assert {instance["variables"]["version"] for instance in instances} == {"v1", "v2"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("worker", ["polled"], indirect=True)
def test_a_version_that_does_not_start_is_rolled_back_before_it_has_a_job(
    kubectl: Kubectl, worker: dict[str, Any], apply_hello: Callable[..., None]
) -> None:
    before = uids(kubectl)
    with loaded(kubectl) as load:
        apply_hello("raise SystemExit('broken')", **worker)
        state = until_phase(kubectl, "Failed", ROLLED_BACK_S)
        until_removed(kubectl)
        assert uids(kubectl) == before
        instances = load.end()
    assert state["canary"]["jobs"] == 0
    assert {instance["variables"]["version"] for instance in instances} == {"v1"}
    described = json.dumps(kubectl.json("get", "rw/hello")["status"]["conditions"])
    assert "CanaryFailed" in described
