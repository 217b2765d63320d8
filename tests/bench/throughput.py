"""No-op jobs from a stub engine: our worker beside a raw client and a naive loop, in one run."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.processes import Stub, stub, worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JOBS = 20_000
NAIVE_JOBS = 1_000
"""The naive loop takes its time."""
ENGINE_RATE = 1158
"""Jobs a second that a raw client got from a real engine with its PostgreSQL: the stub can be held to that."""


@dataclass(frozen=True)
class Result:
    """One client's run."""

    transport: str
    client: str
    engine: str
    jobs_per_second: float
    cpu_ms: float
    """CPU of the client's process per job, in milliseconds."""
    rss_mb: float | None = None


async def compare(folder: Path) -> AsyncIterator[Result]:
    """Every client over both transports, as fast as it can and against an engine that takes 1,158 jobs a second."""
    async with stub() as engine:
        for transport in ("rest", "grpc"):
            for rate, jobs in ((0, JOBS), (ENGINE_RATE, JOBS // 4)):
                yield await _other(engine, "raw", transport, jobs, rate)
                yield await _worker(engine, folder, transport, jobs, rate)
            yield await _other(engine, "naive", transport, NAIVE_JOBS, 0)


async def _worker(engine: Stub, folder: Path, transport: str, jobs: int, rate: float) -> Result:
    await engine.load(0)
    async with worker(
        folder, engine_url=engine.rest, engine_grpc_target=engine.grpc, transport=transport, job_types="noop"
    ) as running:
        await asyncio.sleep(1)
        before = running.cpu_seconds
        await engine.load(jobs, rate)
        stats = await engine.ended(jobs)
        cpu = running.cpu_seconds - before
        assert stats["again"] == stats["failed"] == 0, stats
        return _result(transport, "this worker", rate, jobs, stats["seconds"], cpu, running.rss_mb)


async def _other(engine: Stub, kind: str, transport: str, jobs: int, rate: float) -> Result:
    await engine.load(jobs, rate)
    address = engine.rest if transport == "rest" else engine.grpc
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.clients", kind, transport, address, str(jobs)),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    output, _ = await client.communicate()
    stats = await engine.ended(jobs)
    return _result(
        transport, {"raw": "raw client", "naive": "naive loop"}[kind], rate, jobs, stats["seconds"], float(output)
    )


def _result(
    transport: str, client: str, rate: float, jobs: int, seconds: float, cpu: float, rss: float | None = None
) -> Result:
    engine = f"at most {rate:,.0f} jobs/s" if rate else "as fast as it can"
    return Result(transport, client, engine, jobs / seconds, cpu / jobs * 1000, rss)
