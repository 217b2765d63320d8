"""`make bench`: measures a worker and prints the results. Exits with status 1 if a job ran more often than promised.

`--write` also writes docs/benchmarks.md and its charts; `--soak` also runs a million jobs.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import costly, kafka, latencies, limited, page, promises, soak, throughput, traced
from bench.processes import stub


async def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--soak", action="store_true", help="also run a million jobs (takes minutes)")
    wanted = parser.parse_args()
    print(page.machine(), flush=True)
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
            async for figure in costly.compare(engine, folder):
                figures.append(figure)
                print(*figure, sep=": ", flush=True)
            for scenario, measure in promises.SCENARIOS.items():
                figures.append((scenario, await measure(folder)))
                print(*figures[-1], sep=": ", flush=True)
            async for figure in limited.compare(engine, folder):
                figures.append(figure)
                print(*figure, sep=": ", flush=True)
            async for figure in traced.compare(engine, folder):
                figures.append(figure)
                print(*figure, sep=": ", flush=True)
            async for figure in kafka.dispatched(engine, folder):
                figures.append(figure)
                print(*figure, sep=": ", flush=True)
        if wanted.soak:
            samples = await soak.soak(folder)
            for sample in samples:
                print(
                    f"after {sample.jobs:,} jobs: {sample.rss_mb:.0f} MB, {sample.cpu_ms:.3f} ms CPU a job", flush=True
                )
    if wanted.write:
        page.write(results, waits, figures, samples)


if __name__ == "__main__":
    asyncio.run(main())
