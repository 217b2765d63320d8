"""No-op jobs from a stub engine at full speed: this worker, a raw client and a naive loop, in one run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.driven import Load, drive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.driven import Client, Transport
    from bench.processes import Stub

JOBS = 20_000
NAIVE_JOBS = 1_000
"""The naive loop is slow."""
ENGINE_RATE = 1158
"""Jobs a second that a raw client got from a real engine with its PostgreSQL: the stub can be limited to that."""


@dataclass(frozen=True)
class Result:
    """One client's run."""

    transport: Transport
    client: Client
    engine: str
    jobs_per_second: float
    cpu_ms: float
    """CPU of the client's process per job, in milliseconds."""
    rss_mb: float | None


async def compare(engine: Stub, folder: Path) -> AsyncIterator[Result]:
    """Run every client over both transports, at full speed and against an engine limited to 1,158 jobs a second."""
    transports: tuple[Transport, ...] = ("rest", "grpc")
    both: tuple[Client, ...] = ("raw client", "this worker")
    for transport in transports:
        for load in (Load(JOBS), Load(JOBS // 4, rate=ENGINE_RATE)):
            for client in both:
                yield await _result(engine, folder, client, transport, load)
        yield await _result(engine, folder, "naive loop", transport, Load(NAIVE_JOBS))


async def _result(engine: Stub, folder: Path, client: Client, transport: Transport, load: Load) -> Result:
    run = await drive(engine, folder, client, transport, load)
    speed = f"at most {load.rate:,.0f} jobs/s" if load.rate else "as fast as it can"
    return Result(transport, client, speed, load.jobs / run.stats["seconds"], run.cpu_ms, run.rss_mb)
