"""What workers say of themselves reaches the conditions, and transitions become Events."""

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
from integration.operator.process import Operator
from integration.operator.samples import NAME, make_available, pods, replicas, resource, until_available
from rochallor_operator.kube import Kube
from rochallor_operator.names import Key
from rochallor_operator.queue import Outcome
from rochallor_operator.reasons import REPORTED
from rochallor_operator.recent import Recent
from rochallor_operator.reconcile import Reconciler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from integration.operator.api import Api, Object


class Worker(HTTPServer):
    """Answers /readyz like a worker that is not ready."""

    said = ""
    asked: list[str]


class _Readyz(BaseHTTPRequestHandler):
    server: Worker

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = f"{self.server.said}\n".encode()
        self.send_response(503)
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
async def reconciler(kubeconfig: Path, port: int) -> AsyncIterator[tuple[Reconciler, Recent]]:
    """The real one, with the port at which it asks."""
    configuration, recent = Configuration(), Recent(monotonic)
    await load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    kube = Kube(configuration, recent)
    try:
        yield Reconciler(kube, "worker:test", port), recent
    finally:
        await kube.close()


def run_unready(api: Api) -> None:
    """Let the worker's only pod run at 127.0.0.1 without being ready."""
    (pod,) = pods(api)
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    address = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    api.patch(
        "Pod", pod["metadata"]["name"], {"status": {"phase": "Running", "conditions": [unready]} | address}, "/status"
    )


async def test_a_workers_word_is_the_reason(api: Api, kubeconfig: Path, worker: Worker) -> None:
    async with reconciler(kubeconfig, worker.server_port) as (work, recent):
        key = Key(api.namespace, NAME)
        api.create(resource())
        await work.reconcile(key)
        api.until_the("Deployment", NAME, replicas(1))
        run_unready(api)

        async def until(condition: Callable[[Object], bool]) -> Object:
            """Reconcile until the resource is so: pods are asked aside."""
            async with asyncio.timeout(30):
                while not condition(live := api.the("RochallorWorker", NAME)):
                    recent.clear()  # no watch tells it of the Deployment
                    assert await work.reconcile(key) is Outcome.UNSETTLED
            return live

        sentence = f"pod {pods(api)[0]['metadata']['name']}: http://engine:8080 says no"
        for word in REPORTED:
            worker.said = f"{word}: http://engine:8080 says no"
            live = await until(has("Degraded", "True", word, sentence))
            assert has("Ready", "False", word)(live)
        worker.said = "Draining: 3 jobs run"
        await until(has("Degraded", "False", "Healthy"))
        assert set(worker.asked) == {"/readyz"}


def test_events_tell_transitions_once(api: Api, kubeconfig: Path) -> None:
    def told() -> Counter[str]:
        ours = [event for event in api.every("Event") if event["involvedObject"]["kind"] == "RochallorWorker"]
        assert {event["source"]["component"] for event in ours} == {"rochallor-operator"}
        return Counter(f"{event['type']} {event['reason']}" for event in ours)

    with Operator(kubeconfig, namespaces=api.namespace):
        api.create(resource())
        make_available(api, 1)
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    expected = Counter({"Normal RollingOut": 1, "Normal Available": 1})
    assert told() == expected
    for start in range(2):
        with Operator(kubeconfig, namespaces=api.namespace, log_level="DEBUG") as again:
            again.event("reconciled")
            assert told() == expected, f"after start {start}"
    with Operator(kubeconfig, namespaces=api.namespace):
        api.patch("RochallorWorker", NAME, {"spec": {"suspend": True}})
        api.until_the("RochallorWorker", NAME, has("Ready", "True", "Suspended"))
        api.patch("RochallorWorker", NAME, {"spec": {"suspend": False}})
        until_available(api)
    more = told() - expected  # beside them RollingOut, on the way down and up
    assert (more["Normal Suspended"], more["Normal Available"]) == (1, 1)
