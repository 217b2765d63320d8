"""Answers of workers become annotations of busy pods: deletion costs, which the real controller uses, and shields."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import has
from integration.operator.samples import NAME, hpa, pods, replicas, resource
from integration.operator.test_probe import reconciler
from rochallor_operator.names import DELETION_COST, SHIELD, SHIELDED_SINCE, Key
from rochallor_operator.pods.deletion_cost import BUSY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Iterable, Iterator
    from pathlib import Path

    from integration.operator.api import Api, Object
    from rochallor_operator.reconcile import Reconciler

PODS = 4
UNTIL_S = 90.0


class Workers(ThreadingHTTPServer):
    """Answers /metrics for all pods, which are addresses of this machine."""

    busy: set[str]


class _Metrics(BaseHTTPRequestHandler):
    server: Workers

    def do_GET(self) -> None:
        address = self.connection.getsockname()[0]
        body = f"rochallor_worker_utilization_ratio {0.5 if address in self.server.busy else 0.0}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(("0.0.0.0", 0), _Metrics) as server:
        server.busy = set()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run_ready(api: Api) -> dict[str, str]:
    """Let the pods run and be ready; returns their names and addresses."""
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    found = {}
    for number, pod in enumerate(pods(api)):
        name, address = pod["metadata"]["name"], f"127.0.0.{number + 2}"
        status = {"phase": "Running", "conditions": [ready], "podIP": address, "podIPs": [{"ip": address}]}
        api.patch("Pod", name, {"status": status}, "/status")
        found[name] = address
    return found


def names(api: Api) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods(api)}


async def until_costs(api: Api, several: Iterable[str], busy: Container[str]) -> None:
    """Wait until the busy ones of these pods have a cost and the others have none; the checks continue meanwhile."""

    def right(pod: Object) -> bool:
        cost = pod["metadata"].get("annotations", {}).get(DELETION_COST)
        return bool(cost == (BUSY if pod["metadata"]["name"] in busy else None))

    for name in several:
        await asyncio.to_thread(api.until_the, "Pod", name, right)


@asynccontextmanager
async def looking(work: Reconciler) -> AsyncIterator[asyncio.Event]:
    """Busy pods are marked meanwhile; the event is set when a problem changes."""
    news = asyncio.Event()
    tasks = [asyncio.create_task(marks.run(lambda _: news.set())) for marks in (work.beside.costs, work.beside.shields)]
    try:
        yield news
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_idle_pods_are_removed_first(
    api: Api, kubeconfig: Path, workers: Workers, grant: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rochallor_operator.pods.busy.CHECK_S", 0.2)
    key = Key(api.namespace, NAME)
    asked_for = resource(autoscaling=hpa(1, PODS) | {"podDeletionCost": True})
    async with reconciler(kubeconfig, workers.server_port) as (work, recent), looking(work) as news:

        async def reconcile() -> None:
            recent.clear()  # no watch delivers its children
            await work.reconcile(key)

        api.create(asked_for)
        await reconcile()
        api.patch("Deployment", NAME, {"spec": {"replicas": PODS}}, "/scale")
        before = api.until_the("Deployment", NAME, replicas(PODS))
        addresses = run_ready(api)
        workers.busy = set(list(addresses.values())[:2])

        words = ("AutoscalerReady", "False", "Forbidden", "set patchPods in the values of the operator's chart")
        good = {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "fine"}
        async with asyncio.timeout(UNTIL_S):
            await news.wait()
            # The control plane's own controller sometimes reports that it has no metrics, which takes precedence.
            while not has(*words)(api.the("RochallorWorker", NAME)):
                api.patch("HorizontalPodAutoscaler", NAME, {"status": {"conditions": [good]}}, "/status")
                await reconcile()
        assert has("Degraded", "False", "Healthy")(api.the("RochallorWorker", NAME))
        await until_costs(api, addresses, ())

        news.clear()
        grant()
        busy = {name for name, address in addresses.items() if address in workers.busy}
        await until_costs(api, addresses, busy)
        async with asyncio.timeout(UNTIL_S):
            await news.wait()
        workers.busy = set(addresses.values()) - workers.busy
        busy = addresses.keys() - busy
        await until_costs(api, addresses, busy)

        for fewer in (3, 2):
            api.patch("Deployment", NAME, {"spec": {"replicas": fewer}}, "/scale")
            await asyncio.to_thread(api.until_the, "Deployment", NAME, replicas(fewer))
            assert len(names(api)) == fewer
            assert busy <= names(api)

        api.replace("RochallorWorker", NAME, {"spec": resource(autoscaling=hpa(1, PODS))["spec"]})
        await reconcile()
        await until_costs(api, busy, ())
        assert names(api) == busy
        assert api.the("Deployment", NAME)["spec"]["template"] == before["spec"]["template"]
        assert "finalizers" not in api.the("RochallorWorker", NAME)["metadata"]


async def test_busy_pods_are_shielded_from_consolidation(
    api: Api, kubeconfig: Path, workers: Workers, grant: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rochallor_operator.pods.busy.CHECK_S", 0.2)
    key = Key(api.namespace, NAME)

    def shielded(live: Object) -> bool:
        there = live["metadata"].get("annotations", {})
        return bool(there.items() >= SHIELD.items()) and SHIELDED_SINCE in there

    async with reconciler(kubeconfig, workers.server_port) as (work, recent), looking(work) as news:

        async def reconcile() -> None:
            recent.clear()
            await work.reconcile(key)

        api.create(resource(replicas=2, disruptionShield="2h"))
        await reconcile()
        before = await asyncio.to_thread(api.until_the, "Deployment", NAME, replicas(2))
        (busy, address), (idle, _) = run_ready(api).items()
        workers.busy = {address}
        async with asyncio.timeout(UNTIL_S):
            await news.wait()
        await reconcile()
        words = ("Degraded", "True", "Forbidden", "set patchPods in the values of the operator's chart")
        assert has(*words)(api.the("RochallorWorker", NAME))

        grant()
        await asyncio.to_thread(api.until_the, "Pod", busy, shielded)
        assert not shielded(api.the("Pod", idle))
        workers.busy = set()
        await asyncio.to_thread(api.until_the, "Pod", busy, lambda live: not live["metadata"].get("annotations"))
        assert api.the("Deployment", NAME)["spec"]["template"] == before["spec"]["template"]
