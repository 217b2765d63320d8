"""Pods of a worker and of its canary that run jobs, without any node: their status and their counters are played."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx

from integration.operator.api import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from integration.operator.api import Api, Object

JOBS = 20
"""How many jobs a pod ends between two readings."""


class Version:
    """How pods of one image do: the share of jobs that fail, and whether they start."""

    def __init__(self, failing: float = 0.0, *, starts: bool = True, answers: bool = True) -> None:
        self.failing, self.starts, self.answers = failing, starts, answers


class Fleet:
    """Plays the kubelet and the workers of a namespace until the block ends; versions by the image of their pods."""

    def __init__(self, api: Api, versions: dict[str, Version]) -> None:
        self._api = api
        self.versions = versions
        self.jobs: dict[str, int] = {}
        """Jobs by pod."""
        self._addresses: dict[str, tuple[str, str]] = {}
        """Name and image of each pod by its address."""
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        fleet = self

        class Metrics(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = fleet.metrics(self.connection.getsockname()[0])
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("0.0.0.0", 0), Metrics)
        self.port = self._server.server_port
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,)),
            threading.Thread(target=self._play),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()

    def metrics(self, address: str) -> bytes:
        """What a pod answers: it has ended some more jobs."""
        if address not in self._addresses:
            return b""
        name, image = self._addresses[address]
        version = self.versions[image]
        if not version.answers:
            return b""
        self.jobs[name] = self.jobs.get(name, 0) + JOBS
        failed = int(self.jobs[name] * version.failing)
        lines = {"completed": self.jobs[name] - failed, "failed_final": failed, "lost": 1000}
        return "".join(
            f'rochallor_worker_jobs_total{{job_type="charge-card",outcome="{outcome}"}} {float(count)}\n'
            for outcome, count in lines.items()
        ).encode()

    def seen(self, image: str) -> int:
        """How many jobs the pods of a version have run."""
        names = {name for name, of in self._addresses.values() if of == image}
        return sum(self.jobs.get(name, 0) for name in names)

    def _play(self) -> None:
        while not self._stop.wait(0.1):
            with suppress(RefusedError, httpx.HTTPError):  # a pod may be gone, a connection closed
                for pod in self._api.every("Pod"):
                    self._start(pod)

    def _start(self, pod: Object) -> None:
        name, image = pod["metadata"]["name"], pod["spec"]["containers"][0]["image"]
        if pod["status"].get("podIP") or pod["status"].get("containerStatuses") or image not in self.versions:
            return
        started = "2026-01-01T00:00:00Z"
        status: Object
        if self.versions[image].starts:
            number = len(self._addresses) + 2
            address = f"127.0.{number // 250}.{number % 250 + 2}"
            self._addresses[address] = (name, image)
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": started}
            status = {"phase": "Running", "conditions": [ready], "podIP": address, "podIPs": [{"ip": address}]}
        else:
            ended = {"exitCode": 1, "message": "boom", "finishedAt": started, "startedAt": started, "reason": "Error"}
            container = {
                "name": "worker",
                "ready": False,
                "started": False,
                "restartCount": 3,
                "image": image,
                "imageID": "",
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": ended},
            }
            status = {"phase": "Running", "containerStatuses": [container]}
        self._api.patch("Pod", name, {"status": status}, "/status")


def phase(*wanted: str, step: int | None = None) -> Callable[[Object], bool]:
    """A test for `until`: the rollout of the current generation is in one of these phases."""

    def reached(resource: Object) -> bool:
        status = resource.get("status", {})
        rollout = status.get("rollout", {})
        current = status.get("observedGeneration") == resource["metadata"]["generation"]
        return current and rollout.get("phase") in wanted and (step is None or rollout.get("step") == step)

    return reached
