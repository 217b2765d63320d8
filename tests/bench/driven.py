"""One client run against a stub engine: this worker, a raw client or a naive loop."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.processes import FREE, Costs, worker

if TYPE_CHECKING:
    from bench.processes import Stub

Client = Literal["raw client", "this worker", "naive loop"]
Transport = Literal["rest", "grpc"]


@dataclass(frozen=True)
class Load:
    """No-op jobs, all at once or `arrivals` a second; the engine takes `rate` outcomes a second (0: no limit)."""

    jobs: int
    arrivals: float = 0
    rate: float = 0
    costs: Costs = FREE


@dataclass(frozen=True)
class Run:
    """The engine's counts, the client process's CPU per job in milliseconds, and the worker's memory in MB."""

    stats: dict[str, Any]
    cpu_ms: float
    rss_mb: float | None = None


async def drive(engine: Stub, folder: Path, client: Client, transport: Transport, load: Load, **further: str) -> Run:
    """Let a client process a load; a worker may have further settings."""
    if client != "this worker":
        await engine.load(load.jobs, arrivals=load.arrivals, rate=load.rate, costs=load.costs)
        cpu = await other(client, transport, getattr(engine, transport), load.jobs)
        return Run(await engine.ended(load.jobs), cpu / load.jobs * 1000)
    await engine.load(0)
    settings = {"engine_url": engine.rest, "engine_grpc_target": engine.grpc, "job_types": "noop", **further}
    async with worker(folder, transport=transport, **settings) as running:
        await asyncio.sleep(1)
        before = running.cpu_seconds
        await engine.load(load.jobs, arrivals=load.arrivals, rate=load.rate, costs=load.costs)
        stats = await engine.ended(load.jobs)
        cpu = running.cpu_seconds - before
        assert stats["again"] == stats["failed"] == 0, stats
        return Run(stats, cpu / load.jobs * 1000, running.rss_mb)


async def other(client: Client, transport: Transport, address: str, jobs: int) -> float:
    """Run one of the other clients until it has done its jobs; return its CPU seconds."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.clients", client.split()[0], transport, address, str(jobs)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    output, _ = await process.communicate()
    return float(output)
