"""What the handlers need is away for a while, on real pods: no instance fails, and few retries are spent."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from cluster import images, kafkapod, product
from e2e.instances import calls
from rochallor_worker.handlers.breaker import DEFAULT
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.kubectl import Kubectl

PODS = 2
INSTANCES = 200
RETRIES = 1
AWAY_S = 60.0
WITHIN_S = 240.0
"""How long the jobs may take then: a pause before a probe, leases that must end, and a busy machine."""
DEGRADED = '{.status.conditions[?(@.type=="Degraded")].reason}'

DEPENDENCY = """
from aiohttp import web

status = 200

async def call(_):
    return web.Response(status=status)

async def switch(request):
    global status
    status = int(await request.text())
    return web.Response()

app = web.Application()
app.add_routes([web.get("/call", call), web.post("/", switch)])
web.run_app(app, port=8080)
"""

HANDLERS = """
from urllib.request import urlopen
from rochallor_worker import Registry

registry = Registry()

@registry.handler("call")
def call(job):
    urlopen("http://dependency:8080/call", timeout=10).close()
    return {"left": job.retries_remaining}
"""
DEFINITION = calls(RETRIES)


@pytest.fixture
def dependency(kubectl: Kubectl) -> str:
    """A service that answers 200, or the status last posted to it: the dev engine's pod, with other code."""
    deployment, service = yaml.safe_load_all((product.HELLO / "engine.yaml").read_text())
    pod = deployment["spec"]["template"]
    labels = {"app": "dependency"}
    deployment["metadata"] = service["metadata"] = {"name": "dependency"}
    deployment["spec"]["selector"]["matchLabels"] = pod["metadata"]["labels"] = service["spec"]["selector"] = labels
    service["spec"]["ports"] = [{"name": "rest", "port": 8080}]
    [container] = pod["spec"]["containers"]
    del container["args"]
    container |= {"command": ["python", "-c", DEPENDENCY]}
    container["readinessProbe"]["httpGet"]["path"] = "/call"
    items = {"apiVersion": "v1", "kind": "List", "items": [deployment, service]}
    kubectl("apply", "--filename=-", stdin=json.dumps(items))
    kubectl("rollout", "status", "deployment/dependency", "--timeout=180s")
    return "service/dependency"


@pytest.fixture(params=["polled", "from Kafka"])
def worker(request: pytest.FixtureRequest, kubectl: Kubectl, apply_hello: Callable[..., None]) -> Kubectl:
    """A namespace with an engine and a worker of two pods, ready, whose jobs come in one way or the other."""
    transport: dict[str, Any] = {}
    engine = product.HELLO / "engine.yaml"
    if request.param == "from Kafka":
        kafkapod.load_image()
        kafkapod.start(kubectl)
        kafkapod.create_topic(kubectl, "workflow.jobs.call", 3 * PODS)
        transport = {"transport": "kafka", "kafka": {"bootstrapServers": "kafka:9092"}}
        engine = images.ROOT / "examples" / "kafka" / "engine.yaml"
    kubectl("apply", f"--filename={engine}")
    kubectl("rollout", "status", "deployment/dev-engine", "--timeout=180s")
    apply_hello(HANDLERS, jobTypes=["call"], replicas=PODS, **transport)
    with product.explained(kubectl, "deployment/hello"):
        kubectl("wait", "rw/hello", "--for=condition=Ready", "--timeout=180s")
        kubectl("rollout", "status", "deployment/hello", "--timeout=180s")
    return kubectl


def readiness(kubectl: Kubectl) -> dict[str, Any]:
    """Return since when each pod has been ready, and how often it was restarted."""
    found = {}
    for pod in kubectl.json("get", "pods", "--selector=rochallor.io/worker=hello")["items"]:
        [ready] = [one for one in pod["status"]["conditions"] if one["type"] == "Ready"]
        [container] = pod["status"]["containerStatuses"]
        found[pod["metadata"]["name"]] = (ready["status"], ready["lastTransitionTime"], container["restartCount"])
    return found


@pytest.mark.timeout(900)
def test_no_instance_fails_while_a_dependency_is_away(dependency: str, worker: Kubectl) -> None:
    with (
        worker.port_forward("service/dev-engine", 8080) as url,
        worker.port_forward(dependency, 8080) as switch,
        httpx.Client(base_url=url, timeout=60) as engine,
    ):

        def ended() -> list[dict[str, Any]]:
            query: dict[str, Any] = {"definitionId": "calls", "pageSize": INSTANCES}
            items = engine.get("/v1/instances", params=query).raise_for_status().json()["items"]
            return [item for item in items if item["status"] != "ACTIVE"]

        before = readiness(worker)
        engine.post("/v1/definitions", json=DEFINITION).raise_for_status()
        httpx.post(switch, content="503").raise_for_status()
        back_at = time.monotonic() + AWAY_S
        for _ in range(INSTANCES):
            engine.post("/v1/instances", json={"definitionId": "calls"}).raise_for_status()
        worker("wait", "rw/hello", f"--for=jsonpath={DEGRADED}=BreakerOpen", "--timeout=180s")
        worker("wait", "rw/hello", "--for=condition=Ready", "--timeout=1s")
        time.sleep(max(0.0, back_at - time.monotonic()))
        assert ended() == []
        httpx.post(switch, content="200").raise_for_status()
        wait_until(lambda: len(ended()) == INSTANCES, WITHIN_S, 1)
        instances = ended()
    assert {instance["status"] for instance in instances} == {"COMPLETED"}
    spent = sum(RETRIES - int(instance["variables"]["left"]) for instance in instances)
    print(f"{spent} retries spent")
    assert 0 < spent <= PODS * DEFAULT.failures
    assert readiness(worker) == before
    assert {(status, restarts) for status, _, restarts in before.values()} == {("True", 0)}
