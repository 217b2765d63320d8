"""`kubectl rochallor why` names faults prepared on real pods, all at the same time, each with its own instance.

integration/operator/test_why.py has those that need no pod.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
import yaml
from typer.testing import CliRunner

from cluster import product, programs
from cluster.kubectl import KUBECONFIG
from pages import has_section
from rochallor_worker.cli.main import plugin
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.kubectl import Kubectl
    from rochallor_worker.why.stops import State

Answer = dict[str, Any]
WITHIN_S = 180.0
"""How long pods may take to start, fail and be seen; the machine may be busy."""

HANDLERS = """
import asyncio
import os
from rochallor_worker import Backoff, Breaker, Postpone, Registry

registry = Registry()

@registry.handler("busy")
@registry.handler("limited")
async def wait(job):
    await asyncio.sleep(3600)

@registry.handler("no-access")
@registry.handler("no-engine")
@registry.handler("no-kafka")
@registry.handler("paced")
@registry.handler("stable")
async def pass_on(job):
    return {}

@registry.handler("guarded", breaker=Breaker(failures=2))
async def guarded(job):
    raise ConnectionError("no route to the bank")

@registry.handler("patient", retry=Backoff(first=600, most=600))
async def patient(job):
    raise ConnectionError("no route to the bank")

@registry.handler("spent")
async def spent(job):
    raise ConnectionError("no route to the bank")

@registry.handler("later")
async def later(job):
    raise Postpone("the report is not ready", after=3600)

@registry.handler("deadly")
def deadly(job):
    os._exit(1)
"""
CONFIG_MAP = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "code"},
    "data": {"handlers.py": HANDLERS, "broken.py": "import a_library_that_is_missing"},
}
TOKENS = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "tokens"},
    "stringData": {"required": "this one", "wrong": "another one"},
}


def worker(name: str, *job_types: str, module: str = "handlers:registry", **spec: Any) -> dict[str, Any]:
    """A RochallorWorker; spec replaces fields."""
    return {
        "apiVersion": "rochallor.io/v1alpha1",
        "kind": "RochallorWorker",
        "metadata": {"name": name},
        "spec": {
            "engine": {"url": "http://dev-engine:8080"},
            "jobTypes": job_types or [name],
            "handlers": {"configMap": {"name": "code", "module": module}},
            "drainTimeout": "1s",
            "journal": False,
        }
        | spec,
    }


def with_token(key: str, url: str = "http://dev-engine:8080") -> dict[str, Any]:
    return {"url": url, "tokenSecret": {"name": "tokens", "key": key}}


LIMITS = [{"jobType": "limited", "parallelism": 1}, {"jobType": "paced", "perSecond": 0.001}]
CANARY = {"strategy": "Canary", "steps": [{"share": "50%", "pause": "1s"}]}
WORKERS = [
    worker("served", "limited", "paced", "guarded", "patient", "spent", "later", limits=LIMITS),
    worker("busy", parallelism=1),
    worker("deadly"),
    worker("trial", "stable", rollout=CANARY, minReadySeconds=0),
    worker("suspended", suspend=True),
    worker("no-secret", engine=with_token("missing")),
    worker("no-image", image="localhost/nowhere:1"),
    worker("no-import", module="broken:registry"),
    worker("no-handler"),
    worker("no-engine", engine={"url": "http://nowhere:8080"}),
    worker("no-access", engine=with_token("wrong", "http://locked-engine:8080")),
    worker("no-kafka", transport="kafka", kafka={"bootstrapServers": "nowhere:9092"}),
]


class Fault(NamedTuple):
    """What the answer must be."""

    state: State
    named: str
    page: str


PROBLEM = "troubleshooting.md#"
FAULTS = {
    "deadly": Fault("waits", "ended (Error) and may have had its job: the engine hands it out again", "guarantees.md"),
    "nobody": Fault("stops", "no worker takes jobs of type 'nobody'", PROBLEM + "ready-but-no-jobs-get-done"),
    "suspended": Fault("stops", "suspended: Suspended: spec.suspend is true", PROBLEM + "suspended"),
    "no-secret": Fault("stops", "no-secret: SecretNotFound: ", PROBLEM + "secretnotfound"),
    "no-image": Fault("stops", "localhost/nowhere:1", PROBLEM + "imagepullbackoff"),
    "no-import": Fault("stops", "a_library_that_is_missing", PROBLEM + "crashloopbackoff"),
    "no-handler": Fault("stops", "'no-handler'", PROBLEM + "crashloopbackoff"),
    "no-engine": Fault("stops", "EngineUnreachable: ", PROBLEM + "engineunreachable"),
    "no-access": Fault("stops", "EngineRefuses: ", PROBLEM + "enginerefuses"),
    "no-kafka": Fault("stops", "KafkaUnreachable: ", PROBLEM + "kafkaunreachable"),
    "busy": Fault("stops", "is free, of 1", "production.md#rochallorworkersaturated"),
    "limited": Fault("stops", "as many jobs of type 'limited' as its limit allows: 1", "operator.md#limits"),
    "paced": Fault("waits", "begins 0.001 runs a second of type 'paced'", "operator.md#limits"),
    "guarded": Fault("stops", "ConnectionError: no route to the bank", PROBLEM + "breakeropen"),
    "patient": Fault("waits", "a retry's backoff goes on", "handlers.md#errors-and-retries-of-one-handler"),
    "spent": Fault("stops", "FAILED at step 'do': ConnectionError: no route to the bank", "asking.md#what-has-failed"),
    "later": Fault("waits", "its job is postponed, and waits in served-", "handlers.md#not-now-postpone"),
    "new": Fault("stops", "CanaryFailed: its version of the worker does not take 'new'", PROBLEM + "canaryfailed"),
}
"""By job type, which is also the definition and the business key of an instance that it stops."""
FIRST = ("busy", "limited", "paced")
"""An instance before that one takes the slot, or the limit."""


@pytest.fixture(scope="module")
def faulty(cluster: Kubectl) -> Iterator[Kubectl]:
    """A namespace with all faults but the one of the canary."""
    kubectl = cluster.within(f"e2e-{secrets.token_hex(4)}")
    product.make_restricted(cluster, kubectl.namespace)
    engines = [*yaml.safe_load_all((product.HELLO / "engine.yaml").read_text()), *locked_engine()]
    items = [CONFIG_MAP, TOKENS, *engines, *WORKERS]
    kubectl("apply", "--filename=-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    kubectl("rollout", "status", "deployment/dev-engine", "--timeout=180s")
    yield kubectl
    cluster("delete", "namespace", kubectl.namespace, "--wait=false")


def locked_engine() -> Iterator[dict[str, Any]]:
    """The dev engine's Deployment and Service again, with a required token."""
    for item in yaml.safe_load_all((product.HELLO / "engine.yaml").read_text().replace("dev-engine", "locked-engine")):
        if item["kind"] == "Deployment":
            pod = item["spec"]["template"]["spec"]
            [container] = pod["containers"]
            container["args"] = ["dev-engine", "--host=0.0.0.0", "--grpc-port=9090", "--token-file=/tokens/required"]
            container["volumeMounts"] = [{"name": "tokens", "mountPath": "/tokens"}]
            pod["volumes"] = [{"name": "tokens", "secret": {"secretName": "tokens"}}]
        yield item


def start(engine: httpx.Client, job_type: str) -> None:
    """Start the instance of a job type, after another one that takes its place if need be."""
    step = {"id": "do", "name": "Do", "type": "SERVICE_TASK", "jobType": job_type, "retryCount": 1, "nextStep": "end"}
    steps = [step, {"id": "end", "name": "End", "type": "END"}]
    definition = {"id": job_type, "name": job_type, "steps": steps}
    engine.post("/v1/definitions", json=definition).raise_for_status()
    for key in ([f"{job_type}-first"] if job_type in FIRST else []) + [job_type]:
        engine.post("/v1/instances", json={"definitionId": job_type, "businessKey": key}).raise_for_status()


@pytest.fixture(scope="module")
def why(faulty: Kubectl) -> Iterator[Callable[[str], Answer]]:
    """Ask with the plugin why the instance of a job type does not move on."""
    folder = Path(programs.tool("kubectl")).parent
    with faulty.port_forward("service/dev-engine", 8080) as url:
        with httpx.Client(base_url=url, timeout=60) as engine:
            for job_type in FAULTS:
                start(engine, job_type)
        environment = {
            "PATH": f"{folder}:/usr/bin:/bin",
            "KUBECONFIG": str(KUBECONFIG),
            "ROCHALLOR_ENGINE_URL": url,
        }

        def ask(job_type: str) -> Answer:
            command = ["why", job_type, f"--namespace={faulty.namespace}", "--json"]
            result = CliRunner().invoke(plugin, command, env=environment)
            answer: Answer = json.loads(result.stdout)
            assert result.exit_code == (answer["state"] == "stops")
            return answer

        yield ask


@pytest.fixture(scope="module")
def failed_canary(faulty: Kubectl, why: object) -> None:
    """A version on trial has failed, with which another job type was to come."""
    faulty("wait", "rw/trial", "--for=jsonpath={.status.rollout.phase}=Stable", "--timeout=180s")
    change = {"jobTypes": ["stable", "new"], "handlers": {"configMap": {"name": "code", "module": "broken:registry"}}}
    faulty("patch", "rw/trial", "--type=merge", f"--patch={json.dumps({'spec': change})}")
    faulty("wait", "rw/trial", "--for=jsonpath={.status.rollout.phase}=Failed", "--timeout=180s")


@pytest.mark.parametrize("job_type", FAULTS)
def test_each_fault_is_named(request: pytest.FixtureRequest, why: Callable[[str], Answer], job_type: str) -> None:
    if job_type == "new":
        request.getfixturevalue("failed_canary")
    fault, found = FAULTS[job_type], Answer()

    def named() -> bool:
        found.update(why(job_type))
        answer = (found["state"], found["page"], found["unknown"])
        return fault.named in found["why"] and answer == (fault.state, fault.page, [])

    try:
        wait_until(named, WITHIN_S, 1)
    except TimeoutError:
        pytest.fail(f"not {fault}: {json.dumps(found, indent=2)}")
    assert has_section(found["page"])
