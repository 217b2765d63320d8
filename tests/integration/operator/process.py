"""The operator as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from scrape import total

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

SYSTEM = "rochallor-system"
TESTS = Path(__file__).parents[2]


class Operator:
    """`python -m rochallor_operator` against a kubeconfig; use it in a `with` block.

    `path` is searched for modules first: for those that wrap it, or for another release.
    """

    def __init__(
        self,
        kubeconfig: Path,
        module: str = "rochallor_operator",
        path: str = str(TESTS),
        **variables: str,
    ) -> None:
        self._module = module
        self._environment = {
            **os.environ,
            "PYTHONPATH": path,
            "KUBECONFIG": str(kubeconfig),
            "ROCHALLOR_OPERATOR_HTTP_PORT": "0",
            "ROCHALLOR_OPERATOR_OWN_NAMESPACE": SYSTEM,
            **{f"ROCHALLOR_OPERATOR_{name.upper()}": value for name, value in variables.items()},
        }
        self.lines: list[dict[str, Any]] = []
        """The lines logged so far."""
        self._news = threading.Condition()

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", self._module], env=self._environment, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.ended()

    def ended(self) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(90)  # kopf alone may take 15 s to stop
        self._reader.join()
        return code

    def event(self, start: str, count: int = 1) -> dict[str, Any]:
        """Wait for the count-th line whose event starts with this."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if line["event"].startswith(start)]

        with self._news:
            enough = self._news.wait_for(lambda: len(found()) >= count, 90)
            assert enough, f"not {count} lines {start!r}:\n" + "\n".join(map(str, self.lines))
            return found()[count - 1]

    def until(self, wanted: Callable[[list[dict[str, Any]]], bool], timeout: float = 90) -> None:
        """Wait until the lines match."""
        with self._news:
            assert self._news.wait_for(lambda: wanted(self.lines), timeout), "\n".join(map(str, self.lines))

    def count(self, start: str) -> int:
        """The number of lines whose event starts with this."""
        return sum(line["event"].startswith(start) for line in self.lines)

    def http(self, path: str) -> httpx.Response:
        """Get one of its endpoints."""
        url = f"http://127.0.0.1:{self.event('started')['http_port']}{path}"
        return httpx.get(url, timeout=60)  # the machine may be busy

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        return total(self.http("/metrics").text, name)

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                with self._news:
                    self.lines.append(json.loads(line))
                    self._news.notify_all()

    def writes(self) -> float:
        """The number of requests sent to change a resource or its children."""
        lines = self.http("/metrics").text.splitlines()
        ours = [line for line in lines if line.startswith("rochallor_operator_api_calls_total{")]
        changing = [line for line in ours if 'verb="patch"' in line and 'kind="ConfigMap"' not in line]
        return sum(float(line.rpartition(" ")[2]) for line in changing)
