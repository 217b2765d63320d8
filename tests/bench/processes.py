"""The processes of benchmarks: an engine, a stub of one, workers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from cluster import programs
from rochallor_worker import RestClient
from scrape import total

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

HANDLERS = """
import asyncio, time
from rochallor_worker import Registry
registry = Registry()

@registry.handler("noop")
async def noop(job):
    return {"started": time.time()}

@registry.handler("brief")
async def brief(job):
    started = time.time()
    await asyncio.sleep(0.1)
    return {"started": started}

@registry.handler("slow")
async def slow(job):
    await asyncio.sleep(2)

plain = Registry()

@plain.handler("noop")
def plain_noop(job):
    return {"started": time.time()}
"""
_TICKS = os.sysconf("SC_CLK_TCK")


def _http() -> httpx.AsyncClient:
    """Return a client without TLS: to read the CAs for each call takes longer than the call."""
    return httpx.AsyncClient(timeout=60, verify=False)  # noqa: S501


@dataclass(frozen=True)
class Worker:
    """A worker process."""

    url: str
    pid: int

    async def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        async with _http() as http:
            return total((await http.get(f"{self.url}/metrics")).text, name)

    async def ready(self) -> None:
        """Wait until it is ready."""
        async with _http() as http:
            while (await http.get(f"{self.url}/readyz")).status_code != 200:
                await asyncio.sleep(0.05)

    @property
    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def rss_mb(self) -> float:
        """Memory in use, in MB (2^20 bytes)."""
        [kilobytes] = re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8"))
        return int(kilobytes) / 1024


@dataclass(frozen=True)
class Costs:
    """What the calls of a stub cost, in milliseconds: a poll takes `poll`, and `job` more for each of its jobs; an
    outcome takes `outcome` of CPU time. Nothing, by default."""

    poll: float = 0
    job: float = 0
    outcome: float = 0


FREE = Costs()


@dataclass(frozen=True)
class Stub:
    """The engine's stand-in: `tests/cluster/modules/stub`."""

    rest: str
    grpc: str

    async def load(self, jobs: int, *, rate: float = 0, arrivals: float = 0, costs: Costs = FREE) -> None:
        """Hand out `jobs` from now on, at once or `arrivals` a second; accept at most `rate` outcomes a second."""
        async with _http() as http:
            asked = {"jobs": jobs, "rate": rate, "arrivals": arrivals, **asdict(costs)}
            (await http.post(f"{self.rest}/load", params=asked)).raise_for_status()

    async def stats(self) -> dict[str, Any]:
        """Return the counts since the load began."""
        return await self._get("stats")

    async def waits(self) -> dict[str, list[float]]:
        """Return each job's seconds from its claim to its `start`, and from when it was ready to its `outcome`."""
        return await self._get("waits")

    async def ended(self, jobs: int) -> dict[str, Any]:
        """Wait until this many jobs have an outcome."""
        while (found := await self.stats())["completed"] < jobs:
            await asyncio.sleep(0.1)
        return found

    async def _get(self, what: str) -> dict[str, Any]:
        async with _http() as http:
            found: dict[str, Any] = (await http.get(f"{self.rest}/{what}")).json()
            return found


@asynccontextmanager
async def stub() -> AsyncIterator[Stub]:
    """Run a stub in a separate process."""
    programs.ensure("stub")
    running = await asyncio.create_subprocess_exec(programs.path("stub"), stdout=asyncio.subprocess.PIPE)
    assert running.stdout is not None
    try:
        yield Stub(**json.loads(await running.stdout.readline()))
    finally:
        running.terminate()
        await running.communicate()


@asynccontextmanager
async def busy_loops(count: int) -> AsyncIterator[None]:
    """Run processes that compute all the time."""
    loops = [await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            await loop.wait()


@dataclass(frozen=True)
class Engine:
    """A dev engine's process, its addresses, and a client of it."""

    url: str
    grpc: str
    client: RestClient
    process: Process


@asynccontextmanager
async def engine(folder: Path, *options: str) -> AsyncIterator[Engine]:
    """Run a dev engine in a separate process."""
    async with _process(folder, "dev-engine", "--port", "0", "--grpc-port", "0", *options) as (running, log):
        url, grpc = await _logged(log, r'"url": "([^"]+)"'), await _logged(log, r'"grpc": "([^"]+)"')
        async with RestClient(url, timeout=120) as client:
            yield Engine(url, grpc, client, running)


@asynccontextmanager
async def worker(
    folder: Path, registry: str = "registry", python: str = sys.executable, **settings: str
) -> AsyncIterator[Worker]:
    """Run a worker process with these settings, or `otel_` variables, and otherwise the defaults. `registry` is one of
    those in `HANDLERS`, `python` an interpreter that has the worker installed."""
    (folder / "bench_handlers.py").write_text(HANDLERS, encoding="utf-8")
    arguments = ("run", f"bench_handlers:{registry}")
    async with _process(folder, *arguments, python=python, metrics_port="0", **settings) as (running, log):
        port = await _logged(log, r'"metrics_port": (\d+)[,}]')
        yield Worker(f"http://127.0.0.1:{port}", running.pid)


@asynccontextmanager
async def _process(
    folder: Path, *arguments: str, python: str = sys.executable, **settings: str
) -> AsyncIterator[tuple[Process, Path]]:
    # as in the image, where imports are already compiled
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    environment |= {_variable(name): value for name, value in settings.items()}
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as file:
        running = await asyncio.create_subprocess_exec(
            python, "-m", "rochallor_worker", *arguments, cwd=folder, env=environment, stderr=file
        )
    try:
        yield running, log
    finally:
        running.send_signal(signal.SIGTERM)
        await running.wait()


def _variable(name: str) -> str:
    return name.upper() if name.startswith("otel_") else f"ROCHALLOR_{name.upper()}"


async def _logged(log: Path, pattern: str) -> str:
    while (found := re.search(pattern, log.read_text(encoding="utf-8"))) is None:
        await asyncio.sleep(0.02)
    return found[1]
