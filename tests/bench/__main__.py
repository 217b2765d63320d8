"""`make bench`: measures a worker and prints the results. Exits with status 1 if a job ran more often than promised.

`--write` also writes docs/benchmarks.md and its charts; `--soak` also runs a million jobs; `--quick` runs few jobs of
each kind, to see that it works: its figures say nothing; `--python PATH` also measures another interpreter, whose
environment has the same packages.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench import compared, costly, kafka, latencies, page, promises, soak, throughput, traced
from bench.processes import stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bench.processes import Stub


async def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--soak", action="store_true", help="also run a million jobs (takes minutes)")
    parser.add_argument("--quick", action="store_true", help="run few jobs of each kind")
    parser.add_argument("--python", metavar="PATH", action="append", default=[], help="compare with that interpreter")
    wanted = parser.parse_args()
    compared.PYTHONS = {_version(python): python for python in wanted.python}
    if wanted.quick:
        _few()
    print(page.machine(), flush=True)
    before = page.loop_seconds()
    with TemporaryDirectory() as name:
        folder = Path(name)
        results, waits, figures, samples = [], [], [], []
        async with stub() as engine:
            async for result in throughput.compare(engine, folder):
                results.append(result)
                print(*page.row(result), sep=" | ", flush=True)
            async for latency in latencies.compare(engine, folder):
                waits.append(latency)
                print(*page.latency_row(latency), sep=" | ", flush=True)
            async for figure in _figures(engine, folder):
                figures.append(figure)
                print(*figure, sep=": ", flush=True)
        if wanted.soak:
            samples = await soak.soak(folder)
            for sample in samples:
                print(
                    f"after {sample.jobs:,} jobs: {sample.rss_mb:.0f} MB, {sample.cpu_ms:.3f} ms CPU a job", flush=True
                )
    pace = page.pace(before, page.loop_seconds())
    print(pace, flush=True)
    if wanted.write:
        page.write(results, waits, figures, samples, pace)


async def _figures(engine: Stub, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Yield (scenario, figures) for the rows of the last table."""
    async for figure in costly.compare(engine, folder):
        yield figure
    for scenario, measure in promises.SCENARIOS.items():
        yield scenario, await measure(folder)
    for scenarios in (compared.compare, traced.compare, kafka.dispatched):
        async for figure in scenarios(engine, folder):
            yield figure


def _version(python: str) -> str:
    command = [python, "-c", "import platform, rochallor_worker; print(platform.python_version())"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _few() -> None:
    """Leave little to do. The scenarios that take a minute by their nature are left out."""
    throughput.JOBS, throughput.NAIVE_JOBS, promises.CHAINS, soak.JOBS = 1_000, 100, 10, 20_000
    latencies.LOADS = {client: replace(load, jobs=200) for client, load in latencies.LOADS.items()}
    costly.LOAD, compared.LOAD, traced.LOAD = (
        replace(one, jobs=300) for one in (costly.LOAD, compared.LOAD, traced.LOAD)
    )
    costly.PAIRS = compared.ROUNDS = traced.ROUNDS = 1
    kafka.LOADS = tuple((job_type, replace(load, jobs=500), what) for job_type, load, what in kafka.LOADS)
    for scenario in (promises.idle, promises.slow_jobs, promises.outage):
        promises.SCENARIOS = {name: one for name, one in promises.SCENARIOS.items() if one is not scenario}


if __name__ == "__main__":
    asyncio.run(main())
