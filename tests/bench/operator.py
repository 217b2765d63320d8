"""`make bench-operator`: an operator process against a real control plane; prints a line per figure, asserts nothing.

No pod runs: a stand-in for the kubelets reports every pod as ready, on the same processors. The variables
BENCH_RESOURCES (1000) and BENCH_STEADY_SECONDS (120) make the run smaller.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import ssl
import time
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from cluster.controlplane import ControlPlane
from integration.operator.process import Operator
from integration.operator.samples import resource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ROOT = Path(__file__).parents[2]
RESOURCES = int(os.environ.get("BENCH_RESOURCES", "1000"))
STEADY_S = float(os.environ.get("BENCH_STEADY_SECONDS", "120"))
FEW = 100
CREATES_AT_ONCE = 16
WORKERS = "apis/rochallor.io/v1alpha1/namespaces/default/rochallorworkers"
DEPLOYMENTS = "apis/apps/v1/namespaces/default/deployments"
PODS = "api/v1/namespaces/default/pods"
READY = {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}


class Seen:
    """The live objects of a collection, kept up to date by a watch."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self._change = asyncio.Condition()

    async def follow(self, http: httpx.AsyncClient, path: str, changed: Callable[[Any], Awaitable[None]]) -> None:
        """Watch until cancelled; `changed` is called with every object."""
        async with http.stream("GET", path, params={"watch": "true"}, timeout=None) as stream:
            stream.raise_for_status()
            async for line in stream.aiter_lines():
                event = json.loads(line)
                live = event["object"]
                async with self._change:
                    self.objects[live["metadata"]["name"]] = None if event["type"] == "DELETED" else live
                    self._change.notify_all()
                await changed(live)

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the objects fulfil a condition."""
        async with self._change:
            await self._change.wait_for(lambda: wanted(self.objects))


class Bench:
    """A control plane with one operator, with an administrator's access."""

    def __init__(self, http: httpx.AsyncClient, operator: Operator) -> None:
        self.http, self.operator = http, operator
        self.workers, self.deployments, self.pods = Seen(), Seen(), Seen()

    def name(self, number: int) -> str:
        """Return the name of a resource."""
        return f"bench-{number:04}"

    async def create(self, first: int, end: int) -> None:
        """Create resources, several at a time."""
        numbers = iter(range(first, end))

        async def some() -> None:
            for number in numbers:
                (await self.http.post(WORKERS, json=resource(self.name(number)))).raise_for_status()

        await asyncio.gather(*(some() for _ in range(CREATES_AT_ONCE)))

    async def available(self, count: int) -> None:
        """Wait until `count` resources are ready."""
        await self.workers.until(lambda live: sum(map(_available, live.values())) >= count)

    async def start_pod(self, pod: Any) -> None:
        """Report a new pod as running."""
        if pod["status"].get("phase") == "Pending" and "deletionTimestamp" not in pod["metadata"]:
            body = json.dumps({"status": READY | {"phase": "Running"}})
            headers = {"Content-Type": "application/merge-patch+json"}
            await self.http.patch(f"{PODS}/{pod['metadata']['name']}/status", content=body, headers=headers)

    async def edit(self, number: int, parallelism: int) -> float:
        """Return the seconds from the answer to an edit until the Deployment changes."""
        name = self.name(number)
        before = self.deployments.objects[name]["metadata"]["generation"]
        headers = {"Content-Type": "application/merge-patch+json"}
        body = json.dumps({"spec": {"parallelism": parallelism}})
        (await self.http.patch(f"{WORKERS}/{name}", content=body, headers=headers)).raise_for_status()
        began = time.perf_counter()
        await self.deployments.until(lambda live: live[name]["metadata"]["generation"] > before)
        return time.perf_counter() - began

    async def delete(self, number: int) -> float:
        """Return the seconds from the deletion of a Deployment until it exists again."""
        name = self.name(number)
        old = self.deployments.objects[name]["metadata"]["uid"]
        (await self.http.delete(f"{DEPLOYMENTS}/{name}")).raise_for_status()
        began = time.perf_counter()
        await self.deployments.until(lambda live: live[name] is not None and live[name]["metadata"]["uid"] != old)
        return time.perf_counter() - began

    def calls(self) -> Counter[str]:
        """Return the operator's requests by verb and kind."""
        found: Counter[str] = Counter()
        for line in self.operator.http("/metrics").text.splitlines():
            if line.startswith("rochallor_operator_api_calls_total{"):
                labels, _, value = line.partition("{")[2].rpartition("} ")
                found[labels.replace('"', "").replace("kind=", "").replace("verb=", "")] = int(float(value))
        return found


def _available(worker: Any) -> bool:
    conditions = (worker or {}).get("status", {}).get("conditions", [])
    return any((item["type"], item["status"]) == ("Ready", "True") for item in conditions)


@asynccontextmanager
async def running(plane: ControlPlane) -> AsyncIterator[Bench]:
    """Run an operator on the control plane, and the stand-in for the kubelets."""
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
        with Operator(plane.kubeconfig, own_namespace="default", worker_image="worker:bench") as operator:
            await asyncio.to_thread(operator.event, "watching")
            bench = Bench(http, operator)

            async def ignore(_: Any) -> None: ...

            followers = [
                asyncio.create_task(bench.workers.follow(http, WORKERS, ignore)),
                asyncio.create_task(bench.deployments.follow(http, DEPLOYMENTS, ignore)),
                asyncio.create_task(bench.pods.follow(http, PODS, bench.start_pod)),
            ]
            try:
                yield bench
            finally:
                for task in followers:
                    task.cancel()
                await asyncio.wait(followers)


async def measure(plane: ControlPlane) -> None:
    """Print every figure, with few resources and then with all."""
    async with running(plane) as bench:
        await bench.create(0, FEW)
        await bench.available(FEW)
        edits = sorted([await bench.edit(number, 7) for number in range(FEW)])
        print(f"{FEW} resources: spec edit → Deployment p50 {median(edits):.3f} s, p99 {edits[-2]:.3f} s")
        await bench.available(FEW)
        recreations = sorted([await bench.delete(number) for number in range(20)])
        middle, longest = median(recreations), recreations[-1]
        print(f"{FEW} resources: Deployment deleted → recreated p50 {middle:.3f} s, longest {longest:.3f} s")
        await bench.available(FEW)

        before, cpu = bench.calls(), bench.operator.metric("process_cpu_seconds_total")
        began = time.perf_counter()
        await bench.create(FEW, RESOURCES)
        created = time.perf_counter() - began
        await bench.available(RESOURCES)
        seconds = time.perf_counter() - began
        more = RESOURCES - FEW
        made = bench.calls() - before
        cpu = bench.operator.metric("process_cpu_seconds_total") - cpu
        print(
            f"{more} more: created in {created:.0f} s, all available after {seconds:.0f} s, operator's CPU {cpu:.0f} s"
        )
        print(f"API calls each: {sum(made.values()) / more:.1f} = " + _shares(made, more))

        await asyncio.sleep(15)  # let the last reconciles end
        before, cpu = bench.calls(), bench.operator.metric("process_cpu_seconds_total")
        await asyncio.sleep(STEADY_S)
        steady = bench.calls() - before
        cpu = bench.operator.metric("process_cpu_seconds_total") - cpu
        canary = steady.pop("ConfigMap,patch", 0)
        print(
            f"steady for {STEADY_S:.0f} s: {dict(steady) or 'no calls'} besides {canary} of the canary, CPU {cpu:.1f} s"
        )

        edits = sorted([await bench.edit(number, 8) for number in range(FEW)])
        print(f"{RESOURCES} resources: spec edit → Deployment p50 {median(edits):.3f} s, p99 {edits[-2]:.3f} s")
        rss = bench.operator.metric("process_resident_memory_bytes") / 2**20
    async with running(plane) as again:
        began = time.perf_counter()
        while again.operator.metric("rochallor_operator_reconciles_total") < RESOURCES:
            await asyncio.sleep(0.2)
        seconds = time.perf_counter() - began
        print(f"all {RESOURCES} reconciled {seconds:.0f} s after a restart: {_shares(again.calls(), RESOURCES)} each")
        again_rss = again.operator.metric("process_resident_memory_bytes") / 2**20
    print(f"operator's RSS: {rss:.0f} MB, after a restart {again_rss:.0f} MB")


def _shares(calls: Counter[str], count: int) -> str:
    return ", ".join(f"{name} {number / count:.1f}" for name, number in calls.most_common())


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(prog="python -m bench.operator", description=__doc__).parse_args()
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}")
    with ControlPlane() as plane:
        asyncio.run(measure(plane))


if __name__ == "__main__":
    main()
