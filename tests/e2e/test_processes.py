"""Handlers in processes on a real pod with limits: what they do harms neither the pod nor the jobs beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from cluster import product
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.kubectl import Kubectl

HANDLERS = """
import ctypes
from rochallor_worker import Registry

registry = Registry()

@registry.handler("quick")
async def quick(job):
    pass

@registry.handler("allocate", executor="process")
def allocate(job):
    bytearray(2 * 1024**3)

@registry.handler("segfault", executor="process")
def segfault(job):
    ctypes.string_at(0)

@registry.handler("forever", executor="process", timeout=2)
def forever(job):
    while True:
        pass
"""
FAILURES = {
    "allocate": "MemoryError: a process may use",
    "segfault": "the handler's process was killed by SIGSEGV",
    "forever": "handler timed out after 2 s",
}
QUICK = 200


def definition(job_type: str) -> dict[str, Any]:
    step = {"id": "one", "name": "One", "type": "SERVICE_TASK", "jobType": job_type, "retryCount": 1, "nextStep": "end"}
    return {"id": job_type, "name": job_type, "steps": [step, {"id": "end", "name": "End", "type": "END"}]}


def ended(engine: httpx.Client, job_type: str) -> list[dict[str, Any]]:
    """Return the instances of a definition that have ended."""
    query: dict[str, Any] = {"definitionId": job_type, "pageSize": QUICK}
    items = engine.get("/v1/instances", params=query).raise_for_status().json()["items"]
    return [item for item in items if item["status"] != "ACTIVE"]


def test_no_handler_in_a_process_harms_its_pod(
    kubectl: Kubectl, dev_engine: None, apply_hello: Callable[..., None]
) -> None:
    limits = {"memory": "384Mi", "cpu": "1"}
    apply_hello(HANDLERS, jobTypes=["quick", *FAILURES], resources={"limits": limits, "requests": {"cpu": "100m"}})
    with product.explained(kubectl, "deployment/hello"):
        kubectl("wait", "rw/hello", "--for=condition=Ready", "--timeout=180s")
    with kubectl.port_forward("service/dev-engine", 8080) as url, httpx.Client(base_url=url, timeout=60) as engine:
        for job_type in ("quick", *FAILURES):
            engine.post("/v1/definitions", json=definition(job_type)).raise_for_status()
        for job_type in (*FAILURES, *["quick"] * QUICK):
            engine.post("/v1/instances", json={"definitionId": job_type}).raise_for_status()
        wait_until(lambda: len(ended(engine, "quick")) == QUICK)
        assert {each["status"] for each in ended(engine, "quick")} == {"COMPLETED"}
        for job_type, reason in FAILURES.items():
            wait_until(lambda: ended(engine, job_type))  # noqa: B023 — it is called at once
            [instance] = ended(engine, job_type)
            assert instance["failureReason"].startswith(reason)
    [pod] = kubectl.json("get", "pods", "--selector=rochallor.io/worker=hello")["items"]
    assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]
