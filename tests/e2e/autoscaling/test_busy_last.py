"""Busy pods are deleted last, where the worker and the operator's chart ask for it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from cluster import product
from e2e.autoscaling.engine import POLL_S, Load, define, one_job, records, runs
from e2e.autoscaling.pods import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.kubectl import Kubectl

LEASE_S = 900
# With the engine's own lease, long jobs end after 30 s.
PATIENT = f"""
import asyncio
from rochallor_worker.devengine.server import DevEngine
async def serve():
    async with DevEngine(host="0.0.0.0", port=8080, lease={LEASE_S}):
        await asyncio.Event().wait()
asyncio.run(serve())
"""
# Only `kubectl scale` removes pods, and nothing recreates them.
SCALING = {"maxReplicas": 5, "targetUtilization": 100, "behavior": {"scaleDown": {"selectPolicy": "Disabled"}}}
# Bounds for a busy machine; the timeline shows the real times.
CLAIMED_S = 120.0
COST_S = 180.0
GONE_S = 120.0
DONE_S = 120.0


@pytest.fixture
def right(cluster: Kubectl) -> Iterator[None]:
    """The operator may patch pods."""
    product.install_operator(cluster, "patchPods=true")
    yield
    product.install_operator(cluster)


@pytest.fixture
def patient_engine(kubectl: Kubectl) -> Iterator[str]:
    """The URL of a dev engine whose leases outlast the test."""
    deployment, service = yaml.safe_load_all((product.HELLO / "engine.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = 1
    pod["containers"][0] |= {"command": ["python", "-c", PATIENT], "args": []}
    items = {"apiVersion": "v1", "kind": "List", "items": [deployment, service]}
    kubectl("apply", "--filename=-", stdin=json.dumps(items))
    kubectl("rollout", "status", "deployment/dev-engine", "--timeout=180s")
    with kubectl.port_forward("service/dev-engine", 8080) as url:
        yield url


def until_claimed(url: str, jobs: int) -> set[str]:
    """Wait until `jobs` jobs run; return their pods."""
    gives_up_at = time.monotonic() + CLAIMED_S
    while len(pods := [run["variables"]["pod"] for run in records(url)]) < jobs:
        assert time.monotonic() < gives_up_at, f"{len(pods)} of {jobs} jobs run"
        time.sleep(POLL_S)
    return set(pods)


@pytest.mark.usefixtures("right")
def test_idle_pods_go_first(
    kubectl: Kubectl, patient_engine: str, apply_worker: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    def scale(pods: int) -> None:
        kubectl("scale", "deployment/long", f"--replicas={pods}")

    lease: list[dict[str, Any]] = [{"name": "ROCHALLOR_LEASE", "value": f"{LEASE_S}s"}]
    apply_worker("long", parallelism=1, env=lease, autoscaling=SCALING | {"podDeletionCost": True})
    kubectl("wait", "deployment/long", "--for=create", "--timeout=180s")
    define(patient_engine, one_job("long"))
    with watch(kubectl, "long") as pods, Load(patient_engine, "long") as load:
        # The newest pods, which would be deleted first, are the busy ones in the end.
        scale(3)
        kubectl("rollout", "status", "deployment/long", "--timeout=240s")
        load.start(3, until="early")
        idle = until_claimed(patient_engine, 3)
        scale(5)
        kubectl("rollout", "status", "deployment/long", "--timeout=240s")
        load.start(2, until="late")
        busy = until_claimed(patient_engine, 5) - idle
        assert (len(idle), len(busy)) == (3, 2)
        pods.until(lambda: all(pods.costs[name] for name in idle | busy), COST_S)
        release(patient_engine, "early")
        load.until_completed(DONE_S, 3)
        pods.until(lambda: all(bool(pods.costs[name]) == (name in busy) for name in idle | busy), COST_S)
        for left in (3, 2):
            scale(left)
            pods.until_gone(5 - left, GONE_S)
            assert set(pods.gone) <= idle
        release(patient_engine, "late")
        load.until_completed(DONE_S)
    counted = runs(patient_engine)
    del counted["early"], counted["late"]
    assert counted.total() == len(counted) == 5
    with capsys.disabled():
        print(f"\nbusy: {', '.join(sorted(busy))}; {pods}", end="")


def release(url: str, key: str) -> None:
    """End the jobs that run until `key`."""
    body = {"definitionId": "run", "businessKey": key}
    httpx.post(f"{url}/v1/instances", json=body, timeout=60).raise_for_status()
