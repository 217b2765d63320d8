"""A million no-op jobs: memory and CPU per job must stay flat."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.processes import stub, worker

if TYPE_CHECKING:
    from pathlib import Path

JOBS = 1_000_000
SAMPLES = 20


@dataclass(frozen=True)
class Sample:
    """Memory in MB after `jobs` jobs, and CPU per job since the previous sample in milliseconds."""

    jobs: int
    rss_mb: float
    cpu_ms: float


async def soak(folder: Path) -> list[Sample]:
    """Run them through one worker over REST."""
    samples: list[Sample] = []
    async with stub() as engine:
        await engine.load(0)
        async with worker(folder, engine_url=engine.rest, job_types="noop") as running:
            await engine.load(JOBS)
            done_before, cpu_before = 0, running.cpu_seconds
            for wanted in range(JOBS // SAMPLES, JOBS + 1, JOBS // SAMPLES):
                while (done := (await engine.stats())["completed"]) < wanted:
                    await asyncio.sleep(0.2)
                cpu = running.cpu_seconds
                samples.append(Sample(done, running.rss_mb, (cpu - cpu_before) / (done - done_before) * 1000))
                done_before, cpu_before = done, cpu
    return samples
