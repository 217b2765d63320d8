"""kubectl and helm on one cluster, used as a person would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from contextlib import contextmanager
from itertools import chain
from queue import Queue
from typing import TYPE_CHECKING, Any

from cluster import programs
from cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

KUBECONFIG = programs.CACHE / "kubeconfig"
"""The access to the test cluster."""
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


class Kubectl:
    """Commands on the cluster of `kubeconfig`, in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str = "default") -> None:
        self.namespace = namespace
        self._kubeconfig = kubeconfig
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def within(self, namespace: str) -> Kubectl:
        """Return the same for another namespace; with "" each object is in the namespace that it names."""
        return Kubectl(self._kubeconfig, namespace)

    def __call__(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl; return its output. Raises ClusterError with its error message."""
        return self._run("kubectl", *args, stdin=stdin)

    def helm(self, *args: str) -> str:
        """Run helm; return its output. Raises ClusterError with its error message."""
        return self._run("helm", *args)

    def json(self, *args: str) -> Any:
        """Return the decoded output of `kubectl ARGS --output=json`."""
        return json.loads(self(*args, "--output=json"))

    @contextmanager
    def following(
        self, take: Callable[[Iterable[str]], object], *args: str, stderr: int = subprocess.DEVNULL
    ) -> Iterator[None]:
        """Run an endless kubectl command during the block. `take` gets its lines in a thread of its own, and must read
        them all: else kubectl would block."""
        command = [programs.tool("kubectl"), f"--namespace={self.namespace}", *args]
        with subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process:
            reader = threading.Thread(target=take, args=(process.stdout,))
            reader.start()
            try:
                yield
            finally:
                process.kill()
                reader.join()

    @contextmanager
    def port_forward(self, target: str, port: int) -> Iterator[str]:
        """Forward a port to `target` (such as service/dev-engine) during the block; yields the URL."""
        said = Queue[str]()

        def take(lines: Iterable[str]) -> None:
            for line in chain(lines, [""]):
                said.put(line)

        with self.following(take, "port-forward", target, f":{port}", stderr=subprocess.STDOUT):
            complaint = ""
            while (found := FORWARDING.match(line := said.get())) is None:
                complaint += line
                if not line:
                    raise ClusterError(f"no port-forward to {target}: {complaint.strip()}")
            yield f"http://127.0.0.1:{found[1]}"

    def _run(self, tool: str, *args: str, stdin: str | None = None) -> str:
        command = [programs.tool(tool), f"--namespace={self.namespace}", *args]
        done = subprocess.run(command, env=self._environment, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"{tool} {' '.join(args)} failed: {done.stderr.strip()}")
        return done.stdout
