"""What workers report about themselves reaches the conditions, and transitions become Events."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from integration.operator.api import has
from integration.operator.process import SYSTEM, Operator
from integration.operator.samples import NAME, make_available, pods, replicas, resource, until_available
from rochallor_operator.cluster.cache import Cache
from rochallor_operator.cluster.kube import Kube
from rochallor_operator.names import Key, Release
from rochallor_operator.reconcile import Reconciler
from rochallor_operator.runtime.queue import Result
from rochallor_operator.status.reasons import FROM_WORKERS
from waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from integration.operator.api import Api, Object


class Worker(HTTPServer):
    """Answers /readyz like a worker, which is not ready unless its status says so."""

    said = ""
    status = 503
    asked: list[str]


class _Readyz(BaseHTTPRequestHandler):
    server: Worker

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = f"{self.server.said}\n".encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(("127.0.0.1", 0), _Readyz) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@asynccontextmanager
async def reconciler(kubeconfig: Path, port: int) -> AsyncIterator[tuple[Reconciler, Cache]]:
    """The real reconciler, with the port at which it asks."""
    configuration, recent = Configuration(), Cache(monotonic)
    await load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    kube = Kube(configuration, recent)
    try:
        yield Reconciler(kube, Release(f"{SYSTEM}/rochallor-operator", "worker:test", b"key"), port), recent
    finally:
        await kube.close()


def run(api: Api, *, ready: bool) -> str:
    """Let the worker's only pod run at 127.0.0.1; returns its name."""
    (pod,) = pods(api)
    name: str = pod["metadata"]["name"]
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
    address = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    api.patch("Pod", name, {"status": {"phase": "Running", "conditions": [condition]} | address}, "/status")
    return name


async def test_a_workers_reason_is_the_conditions_reason(api: Api, kubeconfig: Path, worker: Worker) -> None:
    async with reconciler(kubeconfig, worker.server_port) as (work, recent):
        key = Key(api.namespace, NAME)
        api.create(resource())
        await work.reconcile(key)
        api.until_the("Deployment", NAME, replicas(1))
        name = run(api, ready=False)

        async def until_the(condition: Callable[[Object], bool]) -> Object:
            """Reconcile until the resource matches: pods are asked in the background."""
            async with asyncio.timeout(90):
                while not condition(live := api.the("RochallorWorker", NAME)):
                    recent.clear()  # no watch delivers the Deployment
                    assert await work.reconcile(key) is Result.UNSETTLED
            return live

        sentence = f"pod {name}: http://engine:8080 says no"
        for reason in FROM_WORKERS:
            worker.said = f"{reason}: http://engine:8080 says no"
            live = await until_the(has("Degraded", "True", reason, sentence))
            assert has("Ready", "False", reason)(live)
        worker.said = "Draining: 3 jobs run"
        await until_the(has("Degraded", "False", "Healthy"))
        assert set(worker.asked) == {"/readyz"}


@asynccontextmanager
async def asking(work: Reconciler, again: Callable[[Key], None]) -> AsyncIterator[None]:
    """Ready pods are asked meanwhile; `again` is called for a resource whose warning changes."""
    tasks = [asyncio.create_task(checks.run(again)) for checks in (work.beside.leases, work.beside.breakers)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_a_lease_that_can_not_be_renewed_is_a_reason_and_the_worker_stays_ready(
    api: Api, kubeconfig: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rochallor_operator.pods.warnings.CHECK_S", 0.2)
    warning = "handlers may take 45 s, the engine's leases of 30 s can't be renewed"
    worker.status, worker.said = 200, f"LeaseNotRenewable: {warning}"
    key, news = Key(api.namespace, NAME), asyncio.Event()

    async with reconciler(kubeconfig, worker.server_port) as (work, recent), asking(work, lambda _: news.set()):

        async def reconcile() -> Object:
            news.clear()
            recent.clear()  # no watch delivers the Deployment
            await work.reconcile(key)
            return api.the("RochallorWorker", NAME)

        async def informed() -> Object:
            """The resource after the next change of the warning."""
            async with asyncio.timeout(90):
                await news.wait()
            return await reconcile()

        api.create(resource(handlerTimeout="45s"))
        await reconcile()
        api.until_the("Deployment", NAME, replicas(1))
        name = run(api, ready=True)
        api.until_the("Deployment", NAME, lambda seen: seen["status"].get("availableReplicas") == 1)
        live = await informed()
        assert has("Degraded", "True", "LeaseNotRenewable", f"pod {name}: {warning}")(live)
        assert has("Ready", "True", "Available")(live)
        assert has("Progressing", "False", "Available")(live)

        asked = len(worker.asked)
        await until(lambda: len(worker.asked) > asked + 3)
        assert not news.is_set()
        assert (await reconcile())["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]

        worker.said = "ok"
        assert has("Degraded", "False", "Healthy")(await informed())

        worker.said = f"LeaseNotRenewable: {warning}"
        assert has("Degraded", "True", "LeaseNotRenewable")(await informed())
        api.patch("RochallorWorker", NAME, {"spec": {"handlerTimeout": "20s"}})
        assert has("Degraded", "False", "Healthy")(await reconcile())


async def test_an_open_breaker_is_a_reason_and_the_worker_stays_ready(
    api: Api, kubeconfig: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rochallor_operator.pods.warnings.CHECK_S", 0.2)
    sentence = "all runs of charge-card fail: cannot connect to http://bank:8080"
    worker.status, worker.said = 200, "ok"
    key, news = Key(api.namespace, NAME), asyncio.Event()
    async with reconciler(kubeconfig, worker.server_port) as (work, recent), asking(work, lambda _: news.set()):

        async def reconcile() -> Object:
            news.clear()
            recent.clear()  # no watch delivers the Deployment
            await work.reconcile(key)
            return api.the("RochallorWorker", NAME)

        async def informed() -> Object:
            """The resource after the next change of the warning."""
            async with asyncio.timeout(30):
                await news.wait()
            return await reconcile()

        api.create(resource(minReadySeconds=0))
        await reconcile()
        api.until_the("Deployment", NAME, replicas(1))
        run(api, ready=True)
        api.until_the("Deployment", NAME, lambda seen: seen["status"].get("availableReplicas") == 1)
        assert has("Degraded", "False", "Healthy")(await reconcile())
        worker.said = f"BreakerOpen: {sentence}"
        live = await informed()
        assert has("Degraded", "True", "BreakerOpen", sentence)(live)
        assert has("Ready", "True", "Available")(live)
        worker.said = "ok"
        assert has("Degraded", "False", "Healthy")(await informed())


def test_events_report_transitions_once(api: Api, kubeconfig: Path) -> None:
    def reported() -> Counter[str]:
        ours = [event for event in api.every("Event") if event["involvedObject"]["kind"] == "RochallorWorker"]
        assert {event["source"]["component"] for event in ours} == {"rochallor-operator"}
        return Counter(f"{event['type']} {event['reason']}" for event in ours)

    with Operator(kubeconfig, namespaces=api.namespace):
        api.create(resource())
        make_available(api, 1)
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    expected = Counter({"Normal RollingOut": 1, "Normal Available": 1})
    assert reported() == expected
    for start in range(2):
        with Operator(kubeconfig, namespaces=api.namespace, log_level="DEBUG") as again:
            again.event("reconciled")
            assert reported() == expected, f"after start {start}"
    with Operator(kubeconfig, namespaces=api.namespace):
        api.patch("RochallorWorker", NAME, {"spec": {"suspend": True}})
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Suspended"))
        api.patch("RochallorWorker", NAME, {"spec": {"suspend": False}})
        until_available(api)
    more = reported() - expected  # beside them RollingOut, on the way down and up
    assert (more["Normal Suspended"], more["Normal Available"]) == (1, 1)
