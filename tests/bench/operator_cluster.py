"""A control plane with one operator, and what a benchmark does there.

There are no controllers and no pods, which would need most of the processors: a stand-in reports each Deployment as
rolled out, in two steps as the controllers do.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from integration.operator.process import Operator
from integration.operator.samples import resource, secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from cluster.controlplane import ControlPlane

ROOT = Path(__file__).parents[2]
CREATES_AT_ONCE = 16
SECRETS = 100
"""Each is the token of 1 % of the resources."""
WORKERS = "apis/rochallor.io/v1alpha1/namespaces/default/rochallorworkers"
DEPLOYMENTS = "apis/apps/v1/namespaces/default/deployments"
TOKENS = "api/v1/namespaces/default/secrets"
PATCH = {"Content-Type": "application/merge-patch+json"}
ROLLED_OUT = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
AVAILABLE = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}


class Seen:
    """The live objects of a collection, kept up to date by a watch."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self._waiting: defaultdict[str, list[tuple[Callable[[Any], bool], asyncio.Future[None]]]] = defaultdict(list)

    async def follow(
        self, http: httpx.AsyncClient, path: str, changed: Callable[[Any], Coroutine[Any, Any, None]]
    ) -> None:
        """Watch until cancelled; `changed` is called with every object, for several at a time."""
        async with asyncio.TaskGroup() as calls:
            while True:  # the API server ends a watch after half an hour or more
                async with http.stream("GET", path, params={"watch": "true"}, timeout=None) as stream:
                    stream.raise_for_status()
                    async for line in stream.aiter_lines():
                        event = json.loads(line)
                        self._note(event["type"], event["object"])
                        if event["type"] != "DELETED":
                            calls.create_task(changed(event["object"]))

    async def until(self, name: str, wanted: Callable[[Any], bool]) -> None:
        """Wait until an event shows an object as wanted."""
        arrived = asyncio.get_running_loop().create_future()
        self._waiting[name].append((wanted, arrived))
        await arrived

    def _note(self, event: str, live: Any) -> None:
        name = live["metadata"]["name"]
        if event == "DELETED":
            self.objects.pop(name, None)
            return
        self.objects[name] = live
        for waiting in self._waiting.pop(name, []):
            wanted, arrived = waiting
            if wanted(live):
                arrived.set_result(None)
            else:
                self._waiting[name].append(waiting)


class Bench:
    """A control plane with one operator, with an administrator's access."""

    def __init__(self, http: httpx.AsyncClient, operator: Operator) -> None:
        self.http, self.operator = http, operator
        self.workers, self.deployments = Seen(), Seen()

    async def create(self, numbers: Iterable[int]) -> None:
        """Create resources, several at a time."""
        left = iter(numbers)

        async def some() -> None:
            for number in left:
                engine = {"url": "http://engine:8080", "tokenSecret": {"name": token(number), "key": "token"}}
                (await self.http.post(WORKERS, json=resource(name(number), engine=engine))).raise_for_status()

        await asyncio.gather(*(some() for _ in range(CREATES_AT_ONCE)))

    async def available(self, count: int) -> None:
        """Wait until `count` resources are ready."""
        while sum(map(_available, self.workers.objects.values())) < count:
            await asyncio.sleep(0.2)

    async def quiet(self, seconds: float = 5.0) -> float:
        """Wait until nothing is queued, and the operator has written nothing for some seconds; returns when its last
        write was seen."""
        writes, since = -1.0, time.perf_counter()
        while time.perf_counter() < since + seconds or self.operator.metric("rochallor_operator_queue_depth"):
            now = self.operator.writes()
            if now != writes:
                writes, since = now, time.perf_counter()
            await asyncio.sleep(0.5)
        return since

    async def roll_out(self, deployment: Any) -> None:
        """Report a Deployment's next step: a new pod, and then that it is available."""
        generation, status = deployment["metadata"]["generation"], deployment.get("status", {})
        seen = status.get("observedGeneration") == generation
        if seen and status.get("availableReplicas"):
            return
        available = {"availableReplicas": 1, "readyReplicas": 1, "unavailableReplicas": None}
        conditions = [
            condition | {"lastTransitionTime": "2026-01-01T00:00:00Z"} for condition in (ROLLED_OUT, AVAILABLE)
        ]
        news = available | {"conditions": conditions} if seen else {"availableReplicas": None, "readyReplicas": None}
        news |= {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1}
        path = f"{DEPLOYMENTS}/{deployment['metadata']['name']}/status"
        await self.http.patch(path, content=json.dumps({"status": news}), headers=PATCH)

    async def edit(self, number: int, parallelism: int) -> float:
        """Return the seconds from the answer to an edit, which replaces the pods, until the Deployment changes."""
        before = self.deployments.objects[name(number)]["metadata"]["generation"]
        changed = asyncio.ensure_future(
            self.deployments.until(name(number), lambda live: live["metadata"]["generation"] > before)
        )
        body = json.dumps({"spec": {"parallelism": parallelism}})
        (await self.http.patch(f"{WORKERS}/{name(number)}", content=body, headers=PATCH)).raise_for_status()
        began = time.perf_counter()
        await changed
        return time.perf_counter() - began

    async def delete(self, number: int) -> float:
        """Return the seconds from the deletion of a Deployment until it exists again."""
        old = self.deployments.objects[name(number)]["metadata"]["uid"]
        back = asyncio.ensure_future(self.deployments.until(name(number), lambda live: live["metadata"]["uid"] != old))
        (await self.http.delete(f"{DEPLOYMENTS}/{name(number)}")).raise_for_status()
        began = time.perf_counter()
        await back
        return time.perf_counter() - began

    async def rotate(self, number: int, text: str) -> None:
        """Change the token of 1 % of the resources. Their workers reread it, so no pod is replaced."""
        body = json.dumps({"stringData": {"token": text}})
        (await self.http.patch(f"{TOKENS}/{token(number)}", content=body, headers=PATCH)).raise_for_status()

    def calls(self) -> Counter[str]:
        """Return the operator's requests by verb and kind."""
        found: Counter[str] = Counter()
        for line in self.operator.http("/metrics").text.splitlines():
            if line.startswith("rochallor_operator_api_calls_total{"):
                labels, _, value = line.partition("{")[2].rpartition("} ")
                kind, verb = (label.partition("=")[2].strip('"') for label in labels.split(","))
                found[f"{verb} {kind}"] = int(float(value))
        return found

    def cpu(self) -> float:
        """Return the operator's CPU time in seconds."""
        return self.operator.metric("process_cpu_seconds_total")

    def megabytes(self) -> float:
        """Return the operator's resident memory."""
        return self.operator.metric("process_resident_memory_bytes") / 2**20


def name(number: int) -> str:
    """Return the name of a resource."""
    return f"bench-{number:05}"


def token(number: int) -> str:
    """Return the name of a resource's Secret."""
    return f"token-{number % SECRETS:02}"


def _available(worker: Any) -> bool:
    conditions = worker.get("status", {}).get("conditions", [])
    return any((item["type"], item["status"]) == ("Ready", "True") for item in conditions)


@asynccontextmanager
async def running(plane: ControlPlane) -> AsyncIterator[Bench]:
    """Run an operator on the control plane, and the stand-in for the controllers."""
    context = ssl.create_default_context(cafile=plane.folder / "ca.crt")
    headers = {"Authorization": f"Bearer {(plane.folder / 'token').read_text()}"}
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(
        base_url=plane.url, headers=headers, verify=context, timeout=60, limits=limits
    ) as http:
        crd = yaml.safe_load((ROOT / "crds" / "rochallorworkers.rochallor.io.yaml").read_text())
        await http.post("apis/apiextensions.k8s.io/v1/customresourcedefinitions", json=crd)
        while (await http.get(WORKERS)).is_error:
            await asyncio.sleep(0.1)
        for number in range(SECRETS):
            await http.post(TOKENS, json=secret(token(number), token="first"))
        with Operator(plane.kubeconfig, own_namespace="default", worker_image="worker:bench") as operator:
            await asyncio.to_thread(operator.event, "watching")
            bench = Bench(http, operator)

            async def ignore(_: Any) -> None: ...

            followers = [
                asyncio.create_task(bench.workers.follow(http, WORKERS, ignore)),
                asyncio.create_task(bench.deployments.follow(http, DEPLOYMENTS, bench.roll_out)),
            ]
            try:
                yield bench
            finally:
                for task in followers:
                    task.cancel()
                await asyncio.wait(followers)
