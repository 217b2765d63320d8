"""The dev engine's side of a load: it is started here, and its runs are counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

JOB_S = 2.0
PAGE = 200
POLL_S = 0.5


END = {"id": "end", "name": "End", "type": "END"}


def one_job(name: str) -> dict[str, Any]:
    """Return a workflow of one job; both are called `name`."""
    job = {"id": "job", "name": "Job", "type": "SERVICE_TASK", "jobType": name, "nextStep": "end"}
    return {"id": name, "name": name, "steps": [job, END]}


def define(url: str, workflow: dict[str, Any]) -> None:
    """Upload the workflows that a load needs: its own, and `run`, which records runs."""
    for definition in (workflow, {"id": "run", "name": "run", "steps": [END]}):
        httpx.post(f"{url}/v1/definitions", json=definition, timeout=60).raise_for_status()


class Load:
    """Starts `rate` instances of one workflow per second during its `with` block; none at rate 0.

    A failed request ends the load, and the end of the block raises its error.
    """

    def __init__(self, url: str, definition: str) -> None:
        self.definition = definition
        self.started = 0
        """The number of instances so far."""
        self._engine = httpx.Client(base_url=url, timeout=60)
        self._rate = 0.0
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._error: httpx.HTTPError | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()
        self._engine.close()
        if self._error is not None:
            raise self._error

    def set_rate(self, rate: float) -> None:
        """Start this many instances per second from now on."""
        with self._changed:
            self._rate = rate
            self._changed.notify()

    def start(self, instances: int, **variables: Any) -> None:
        """Start some instances at once; their jobs take 2 s unless the variables say otherwise."""
        for _ in range(instances):
            body = {"definitionId": self.definition, "variables": variables or {"seconds": JOB_S}}
            self._engine.post("/v1/instances", json=body).raise_for_status()
            self.started += 1

    def until_completed(self, timeout: float, instances: int | None = None) -> None:
        """Wait until this many instances, by default all, are completed."""
        query: dict[str, Any] = {"definitionId": self.definition, "status": "COMPLETED", "pageSize": 1}
        gives_up_at = time.monotonic() + timeout
        while True:
            completed = self._engine.get("/v1/instances", params=query).raise_for_status().json()["total"]
            if completed == (self.started if instances is None else instances):
                return
            assert time.monotonic() < gives_up_at, f"{completed} of {self.started} instances completed"
            time.sleep(POLL_S)

    def _run(self) -> None:
        with self._changed:
            while not self._over:
                try:
                    self.start(1 if self._rate else 0)
                except httpx.HTTPError as error:
                    self._error = error
                    return
                self._changed.wait(1 / self._rate if self._rate else None)


def runs(url: str) -> Counter[str]:
    """Return how often each job was run, by its id."""
    return Counter(run["businessKey"] for run in records(url))


def records(url: str) -> Iterator[dict[str, Any]]:
    """Yield the instances of `run`."""
    for page in count():
        query: dict[str, Any] = {"definitionId": "run", "page": page, "pageSize": PAGE}
        items = httpx.get(f"{url}/v1/instances", params=query, timeout=60).raise_for_status().json()["items"]
        yield from items
        if len(items) < PAGE:
            return
