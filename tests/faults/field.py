"""A namespace of a real cluster with an engine and a worker, and what happened to its jobs."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx

from cluster.errors import ClusterError
from faults.ledger import Note, Row, judge
from faults.result import Jobs
from unit.worker.engines import definition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.kubectl import Kubectl
    from faults.suite import Trial

NAME = "worker"
SELECTOR = f"--selector=rochallor.io/worker={NAME}"
STEPS = 2
RETRIES = 2
JOB_S = 1.0
DRAIN_S = 5.0
DRAIN_SLACK_S = 10.0
"""What a busy machine and a kubelet may add to the drain."""
WITHIN_S = 600.0
"""Work not done this long after the fault never will be: each of three kills costs a lease and a longer restart."""

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
            jobs = [dict(key=job.execution.id, type=job.job_type, status=job.execution.status, number=job.number,
                         retries_remaining=job.retries_remaining, reason=job.instance.failure_reason)
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
"""The dev engine, with a second port for the handlers' notes and for the state of all jobs."""

HANDLERS = """
import asyncio, os, random, urllib.request
from rochallor_worker import Registry

registry = Registry()
process = random.getrandbits(62)

def note(what, job):
    line = f"{what} {process} {job.instance_id} {job.key} {os.environ['HOSTNAME']}"
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
    """Where the ledger is served."""
    count: int
    """The number of instances of the ordinary work."""
    tenth: set[str] = field(default_factory=set)
    """Every tenth of them."""
    victims: dict[int, int] = field(default_factory=dict)
    drains: list[float] = field(default_factory=list)

    def ledger(self) -> Any:
        """Return the jobs' state and the handlers' notes so far."""
        return httpx.get(f"{self.url}/ledger", timeout=60).raise_for_status().json()

    def pods(self) -> list[Any]:
        """Return the worker's pods that are not being deleted."""
        found = self.kubectl.json("get", "pods", SELECTOR)["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def evict(self, pod: str) -> bool:
        """Evict a pod; return False if the disruption budget forbids it now."""
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
        """Wait until a condition holds; return whether it did in time."""
        deadline = time.monotonic() + WITHIN_S
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def done(self, job_type: str = "work") -> int:
        """Return how many jobs of a type have ended, successfully or not."""
        ended = [job for job in self.ledger()["jobs"] if job["status"] in {"COMPLETED", "FAILED"}]
        return len({job["key"] for job in ended if job["type"] == job_type})

    def start(self, workflow: str, seconds: float = JOB_S) -> str:
        """Start an instance whose jobs take `seconds` each; return its id."""
        body = {"definitionId": workflow, "variables": {"seconds": seconds}}
        return str(httpx.post(f"{self.engine}/v1/instances", json=body, timeout=60).raise_for_status().json()["id"])

    def killed(self, pod: str) -> None:
        """Record that all processes of a pod have ended by now."""
        notes = self.ledger()["notes"]
        self.victims |= {int(process): len(notes) for _, process, _, _, where in notes if where == pod}

    def begun(self) -> int:
        """Return how many jobs have begun."""
        return len({job for what, _, _, job, _ in self.ledger()["notes"] if what == "begin"})

    def figures(self, ended_at: float, restarts: int = 0) -> Jobs:
        """Wait until the work is done, or never will be; return figures. `restarts`: containers that the fault ends."""
        self.until(lambda: self.done() >= self.count * STEPS)
        recovery = time.monotonic() - ended_at
        found = self.ledger()
        rows = [
            Row(job["key"], job["number"], job["retries_remaining"], job["status"] == "COMPLETED")
            for job in found["jobs"]
            if job["type"] == "work"
        ]
        noted = [Note(what, int(process), instance, job) for what, process, instance, job, _ in found["notes"]]
        noted = [note for note in noted if note.job in {row.job for row in rows}]
        counts = [status["restartCount"] for pod in self.pods() for status in pod["status"]["containerStatuses"]]
        return Jobs(
            **judge(rows, noted, planned=self.count * STEPS, retries=RETRIES, victims=self.victims),
            recovery_s=recovery,
            drain_s=max(self.drains, default=None),
            overdrawn=sum(seconds > DRAIN_S + DRAIN_SLACK_S for seconds in self.drains),
            crashes=max(0, sum(counts) - restarts),
        )


def manifests(trial: Trial, **spec: Any) -> list[Any]:
    """Return an engine with its Service, handlers, and a worker of two pods, one of which may be evicted at a time."""
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
    """Create a namespace where the worker is ready and running the trial's jobs.

    The jobs of every tenth instance take `tenth_s`.
    """
    name = f"faults-{uuid4().hex[:8]}"
    cluster("create", "namespace", name)
    try:
        kubectl = cluster.within(name)
        kubectl(
            "apply",
            "--filename=-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests(trial, **spec)}),
        )
        kubectl("rollout", "status", "deployment/engine", "--timeout=180s")
        kubectl("wait", f"rw/{NAME}", "--for=condition=Ready", "--timeout=180s")
        with kubectl.port_forward("service/engine", 8080) as rest, kubectl.port_forward("service/engine", 8082) as url:
            here = Field(kubectl, rest, url, trial.size.jobs // STEPS)
            for job_type, steps in (("work", STEPS), ("eat", 1)):
                upload = {**definition(*[job_type] * steps, retries=RETRIES), "id": job_type}
                httpx.post(f"{rest}/v1/definitions", json=upload, timeout=60).raise_for_status()
            started = [here.start("work", JOB_S if n % 10 else tenth_s) for n in range(here.count)]
            here.tenth.update(started[::10])
            here.until(lambda: here.begun() > 0)
            yield here
    finally:
        cluster("delete", "namespace", name, "--wait=false")
