"""`perSecond` with the scope `resource` on real pods: the rate stays while their number doubles."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from cluster import product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.kubectl import Kubectl

RATE = 30
SECONDS = 120.0
TOLERANCE = 0.1
INSTANCES = int(RATE * SECONDS * 1.3)
"""More than can be done in the time."""
DEFINITION = {
    "id": "steady",
    "name": "Steady",
    "steps": [
        {"id": "step", "name": "Step", "type": "SERVICE_TASK", "jobType": "steady", "nextStep": "end"},
        {"id": "end", "name": "End", "type": "END"},
    ],
}
HANDLERS = """
from rochallor_worker import Registry

registry = Registry()

@registry.handler("steady")
async def steady(job):
    pass
"""


@pytest.fixture
def _pods_are_told(cluster: Kubectl) -> Iterator[None]:
    """The operator may annotate pods, upon which the kubelet shows them a new number at once."""
    product.install_operator(cluster, "patchPods=true")
    yield
    product.install_operator(cluster)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_pods_are_told")
def test_the_rate_of_a_resource_stays_while_its_pods_double(
    kubectl: Kubectl, dev_engine: None, apply_hello: Callable[..., None]
) -> None:
    limits = [{"jobType": "steady", "perSecond": RATE, "scope": "resource"}]
    apply_hello(HANDLERS, jobTypes=["steady"], replicas=3, limits=limits)
    with product.explained(kubectl, "deployment/hello"):
        kubectl("wait", "rw/hello", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=180s")
    with kubectl.port_forward("service/dev-engine", 8080) as url, httpx.Client(base_url=url, timeout=60) as engine:

        def done() -> int:
            query: dict[str, str | int] = {"definitionId": "steady", "status": "COMPLETED", "pageSize": 1}
            return int(engine.get("/v1/instances", params=query).raise_for_status().json()["total"])

        def start(_: int) -> None:
            engine.post("/v1/instances", json={"definitionId": "steady"}).raise_for_status()

        engine.post("/v1/definitions", json=DEFINITION).raise_for_status()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(start, range(INSTANCES)))
        before = done()
        began = time.monotonic()
        time.sleep(SECONDS / 2)
        with_three = (done() - before) / (time.monotonic() - began)
        kubectl("scale", "rw/hello", "--replicas=6")
        time.sleep(began + SECONDS - time.monotonic())
        count, seconds = done() - before, time.monotonic() - began
    print(f"with 3 pods {with_three:.1f}/s; while 3 became 6 {count / seconds:.1f}/s over all {seconds:.0f} s")
    assert kubectl.json("get", "rw/hello")["status"]["readyReplicas"] == 6
    assert with_three == pytest.approx(RATE, rel=TOLERANCE)
    assert count / seconds == pytest.approx(RATE, rel=TOLERANCE)
