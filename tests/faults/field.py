"""A namespace of a real cluster with an engine and a worker, and what became of its jobs."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import httpx

from cluster.errors import ClusterError
from faults.ledger import Note, judge
from faults.result import Jobs
from unit.worker.engines import definition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.kubectl import Kubectl
    from faults.suite import Trial
    from rochallor_worker.devengine.model import EngineState

NAME = "worker"
SELECTOR = f"--selector=rochallor.io/worker={NAME}"
STEPS = 2
RETRIES = 2
JOB_S = 1.0
DRAIN_S = 5.0
DRAIN_SLACK_S = 10.0
"""What a busy machine and a kubelet may add to it."""
WITHIN_S = 600.0
"""What is not done so long after the fault never will be: each of three kills costs a lease, and a longer restart."""

ENGINE = """
import asyncio, os
from aiohttp import web
from rochallor_worker.devengine import DevEngine

notes = []

async def note(request):
    notes.append((await request.text()).split())
    return web.Response()

async def main():
    lease, sweep = float(os.environ["LEASE"]), float(os.environ["SWEEP"])
    async with DevEngine(host="0.0.0.0", port=8080, lease=lease, sweep=sweep) as engine:
        async def ledger(_):
            jobs = [dict(id=job.id, type=job.job_type, status=job.status, number=job.number,
                         retries_remaining=job.retries_remaining, instance=job.instance.id,
                         reason=job.instance.failure_reason)
                    for job in engine.state.jobs.values()]
            return web.json_response({"jobs": jobs, "notes": notes})
        app = web.Application()
        app.add_routes([web.post("/note", note), web.get("/ledger", ledger)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", 8082).start()
        await asyncio.Event().wait()

asyncio.run(main())
"""
"""The dev engine, with a second port for what handlers note and for what became of it all."""

HANDLERS = """
import asyncio, os, random, urllib.request
from rochallor_worker import Registry

registry = Registry()
process = random.getrandbits(62)

def note(what, job):
    line = f"{what} {process} {job.instance_id} {job.id} {os.environ['HOSTNAME']}"
    urllib.request.urlopen("http://engine:8082/note", line.encode(), timeout=10).close()

@registry.handler("work")
async def work(job):
    await asyncio.to_thread(note, "begin", job)
    await asyncio.sleep(job.variables["seconds"])
    await asyncio.to_thread(note, "end", job)

@registry.handler("eat")
def eat(job):
    note("begin", job)
    b"x" * 2**30
"""


@dataclass
class Field:
    """A namespace with an engine and a worker, and what happened to the worker's pods."""

    kubectl: Kubectl
    engine: str
    url: str
    """Where what became of the jobs is told."""
    count: int
    """How many instances of the ordinary work there are."""
    tenth: set[str] = field(default_factory=set)
    """Every tenth of them."""
    victims: dict[int, int] = field(default_factory=dict)
    drains: list[float] = field(default_factory=list)

    def ledger(self) -> Any:
        """What became of the jobs so far."""
        return httpx.get(f"{self.url}/ledger", timeout=30).raise_for_status().json()

    def pods(self) -> list[Any]:
        """The worker's pods that are not told to go."""
        found = self.kubectl.json("get", "pods", SELECTOR)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def evict(self, pod: str) -> bool:
        """Whether the disruption budget lets it go now."""
        name = {"name": pod, "namespace": self.kubectl.namespace}
        body = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name})
        path = f"/api/v1/namespaces/{self.kubectl.namespace}/pods/{pod}/eviction"
        try:
            self.kubectl("create", f"--raw={path}", "--filename=-", stdin=body)
        except ClusterError as error:
            if "disruption budget" not in str(error):
                raise
            return False
        return True

    def until(self, condition: Callable[[], object]) -> bool:
        """Wait until something is so; return whether it came to be."""
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def done(self, job_type: str = "work") -> int:
        """How many jobs of a type have ended, well or not."""
        return sum(
            job["type"] == job_type and job["status"] in {"COMPLETED", "FAILED"} for job in self.ledger()["jobs"]
        )

    def start(self, workflow: str, seconds: float = JOB_S) -> str:
        """Start an instance whose ordinary jobs take so long; gives its id."""
        body = {"definitionId": workflow, "variables": {"seconds": seconds}}
        return str(httpx.post(f"{self.engine}/v1/instances", json=body).raise_for_status().json()["id"])

    def killed(self, pod: str) -> None:
        """Note that all processes of a pod are ended now."""
        notes = self.ledger()["notes"]
        self.victims |= {int(process): len(notes) for _, process, _, _, where in notes if where == pod}

    def begun(self) -> int:
        """How many jobs have begun."""
        return len({job for what, _, _, job, _ in self.ledger()["notes"] if what == "begin"})

    def figures(self, ended_at: float, restarts: int = 0) -> Jobs:
        """Wait until the work is done, or never will be. `restarts`: how often the fault ends a container."""
        self.until(lambda: self.done() >= self.count * STEPS)
        recovery = time.monotonic() - ended_at
        told = self.ledger()
        jobs = {job["id"]: SimpleNamespace(**job) for job in told["jobs"] if job["type"] == "work"}
        noted = [Note(what, int(process), instance, job) for what, process, instance, job, _ in told["notes"]]
        noted = [note for note in noted if note.job in jobs]
        instances = {job.instance for job in jobs.values()}
        state = cast("EngineState", SimpleNamespace(instances=instances, jobs=jobs))
        counts = [status["restartCount"] for pod in self.pods() for status in pod["status"]["containerStatuses"]]
        return Jobs(
            **judge(state, noted, steps=STEPS, retries=RETRIES, victims=self.victims),
            recovery_s=recovery,
            drain_s=max(self.drains, default=None),
            overdrawn=sum(seconds > DRAIN_S + DRAIN_SLACK_S for seconds in self.drains),
            crashes=max(0, sum(counts) - restarts),
        )


def manifests(trial: Trial, **spec: Any) -> list[Any]:
    """An engine with its Service, handlers, and a worker with two pods of which a drain may stop one at a time."""
    times = {"LEASE": trial.size.lease, "SWEEP": trial.size.sweep}
    container = {
        "name": "engine",
        "image": f"rochallor/rochallor-worker:{version('rochallor-worker')}",
        "command": ["python", "-c", ENGINE],
        "env": [{"name": name, "value": f"{seconds}"} for name, seconds in times.items()],
        "readinessProbe": {"httpGet": {"path": "/ledger", "port": 8082}, "periodSeconds": 1},
    }
    labels = {"app": "engine"}
    engine = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    ports = [{"name": "rest", "port": 8080}, {"name": "ledger", "port": 8082}]
    worker: dict[str, Any] = {
        "engine": {"url": "http://engine:8080"},
        "jobTypes": ["work", "eat"],
        "handlers": {"configMap": {"name": "handlers", "module": "handlers:registry"}},
        "parallelism": 2,
        "drainTimeout": f"{DRAIN_S:g}s",
        "replicas": 2,
        "disruptionBudget": {"maxUnavailable": 1},
    }
    return [
        manifest("apps/v1", "Deployment", "engine", spec=engine),
        manifest("v1", "Service", "engine", spec={"selector": labels, "ports": ports}),
        manifest("v1", "ConfigMap", "handlers", data={"handlers.py": HANDLERS}),
        manifest("rochallor.io/v1alpha1", "RochallorWorker", NAME, spec=worker | spec),
    ]


def manifest(api_version: str, kind: str, name: str, **fields: Any) -> Any:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


@contextmanager
def a_field(cluster: Kubectl, trial: Trial, tenth_s: float = JOB_S, **spec: Any) -> Iterator[Field]:
    """A fresh namespace where the worker is ready and at work on the trial's jobs; those of every tenth instance take
    `tenth_s`."""
    name = f"faults-{uuid4().hex[:8]}"
    cluster("create", "namespace", name)
    try:
        kubectl = cluster.within(name)
        kubectl(
            "apply",
            "--filename=-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests(trial, **spec)}),
        )
        kubectl("rollout", "status", "deployment/engine", "--timeout=120s")
        kubectl("wait", f"rw/{NAME}", "--for=condition=Ready", "--timeout=120s")
        with kubectl.port_forward("service/engine", 8080) as rest, kubectl.port_forward("service/engine", 8082) as url:
            here = Field(kubectl, rest, url, trial.size.jobs // STEPS)
            for job_type, steps in (("work", STEPS), ("eat", 1)):
                upload = {**definition(*[job_type] * steps, retries=RETRIES), "id": job_type}
                httpx.post(f"{rest}/v1/definitions", json=upload).raise_for_status()
            started = [here.start("work", JOB_S if n % 10 else tenth_s) for n in range(here.count)]
            here.tenth.update(started[::10])
            here.until(lambda: here.begun() > 0)
            yield here
    finally:
        cluster("delete", "namespace", name, "--wait=false")
