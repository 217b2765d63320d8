"""Worker processes that can be killed: each is `rochallor-worker run`, in a process group of its own."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio.subprocess import Process

ENDS_WITHIN = 10.0
"""How long a worker may take to end after SIGTERM, in seconds, until it is killed."""
_OWN = ("ROCHALLOR_", "OTEL_")
_PROXIES = ("http_proxy", "no_proxy", "all_proxy")


class WorkerProcess:
    """One worker. `log` is where its output goes."""

    def __init__(self, log: Path) -> None:
        self.asked = asyncio.Event()
        """Set once it has asked for jobs."""
        self._log = log
        self._process: Process | None = None

    async def start(self, name: str, handlers: str, url: str, services: Mapping[str, str]) -> None:
        """Start it, with its wire at `url`: for the engine, as HTTP proxy and in place of the services' base URLs."""
        environment = {
            variable: value
            for variable, value in os.environ.items()
            if not variable.startswith(_OWN) and variable.lower() not in _PROXIES
        }
        environment |= {service: f"{url}/to/{service}" for service in services}
        environment |= {
            "HTTP_PROXY": url,
            "http_proxy": url,
            "ROCHALLOR_ENGINE_URL": url,
            "ROCHALLOR_WORKER_ID": name,
            "ROCHALLOR_PARALLELISM": "1",
            "ROCHALLOR_PROCESSES": "1",
            "ROCHALLOR_POLL_INTERVAL": "50ms",
            "ROCHALLOR_DRAIN_TIMEOUT": "500ms",
            "ROCHALLOR_METRICS_HOST": "127.0.0.1",
            "ROCHALLOR_METRICS_PORT": "0",
        }
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "rochallor_worker", "run", handlers),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        """Whether it has ended, by itself or not."""
        return self._process is not None and self._process.returncode is not None

    @property
    def last_words(self) -> str:
        """The last line of its output."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else "no output"

    async def kill(self) -> None:
        """Kill it, and its children with it."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> None:
        """Stop it in order."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), ENDS_WITHIN)
        await self.kill()
