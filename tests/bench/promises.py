"""A worker's promises, measured against a dev engine: one line of figures per scenario."""

from __future__ import annotations

import asyncio
import signal
import time
from statistics import quantiles
from typing import TYPE_CHECKING

from bench.driven import other
from bench.load import chain, completed, start, upload
from bench.processes import engine, worker

if TYPE_CHECKING:
    from pathlib import Path


CHAINS = 200
"""Instances of three steps, one after another."""
LOOK_S = 0.001
"""Seconds between two looks at one of them."""


def once(runs: float, jobs: int) -> str:
    """Report that no job ran twice. Ends the program with status 1 if one did: that is promised, not measured."""
    if runs > jobs:
        raise SystemExit(f"a promise is broken: {jobs:,} jobs were run {runs:,.0f} times")
    return "0 duplicate runs"


async def startup(folder: Path) -> str:
    """From the start of the process to the end of its first job."""
    async with engine(folder) as there:
        await upload(there.client, "noop")
        await start(there.client, 1)
        began = time.perf_counter()
        async with worker(folder, engine_url=there.url) as running:
            await completed(there.client, 1)
            seconds, rss = time.perf_counter() - began, running.rss_mb
    return f"first job done {seconds:.2f} s after the start of the process; {rss:.0f} MB"


async def idle(folder: Path) -> str:
    """Polls per second of a worker without jobs, its CPU and its memory."""
    async with engine(folder) as there, worker(folder, engine_url=there.url) as running:
        await asyncio.sleep(3)
        before, cpu = await running.metric("rochallor_worker_polls_total"), running.cpu_seconds
        await asyncio.sleep(20)
        polls = await running.metric("rochallor_worker_polls_total") - before
        cpu, rss = running.cpu_seconds - cpu, running.rss_mb
    return f"{polls / 20:.2f} polls/s, {cpu / 20:.1%} of a core, {rss:.0f} MB"


async def three_steps(folder: Path) -> str:
    """Start to end of instances with three steps, one after another; of the raw client's, too."""
    async with engine(folder) as there:
        await upload(there.client, "noop", "noop", "noop")
        raw = asyncio.create_task(other("raw client", "rest", there.url, CHAINS * 3))
        best = quantiles([await chain(there.client, LOOK_S) for _ in range(CHAINS)], n=100)
        await raw
        async with worker(folder, engine_url=there.url):
            cuts = quantiles([await chain(there.client, LOOK_S) for _ in range(CHAINS)], n=100)
    times = f"{cuts[49] / best[49]:.1f} times the raw client's {best[49] * 1000:.0f} ms"
    return f"p50 {cuts[49] * 1000:.0f} ms, {times}; p99 {cuts[98] * 1000:.0f} ms"


async def slow_jobs(folder: Path) -> str:
    """1,500 jobs of 2 s on 64 slots: duplicate runs, and how much of the slots' time was used."""
    jobs, ideal = 1500, 1500 * 2 / 64
    async with engine(folder) as there:
        await upload(there.client, "slow")
        await start(there.client, jobs)
        async with worker(folder, engine_url=there.url) as running:
            began = time.perf_counter()
            await completed(there.client, jobs)
            seconds = time.perf_counter() - began
            runs = await running.metric("rochallor_worker_handler_seconds_count")
    return f"{once(runs, jobs)}, {seconds:.1f} s: {ideal / seconds:.0%} of the slots' time"


async def outage(folder: Path) -> str:
    """The engine's process is stopped for 60 s under load (SIGSTOP): what is lost, and how soon the backlog is done."""
    jobs = 2000
    async with engine(folder) as there, worker(folder, engine_url=there.url) as running:
        await upload(there.client, "noop")
        await start(there.client, jobs)
        there.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(60)
        there.process.send_signal(signal.SIGCONT)
        began = time.perf_counter()
        await completed(there.client, jobs)
        seconds = time.perf_counter() - began
        runs = await running.metric("rochallor_worker_handler_seconds_count")
    return f"all of {jobs:,} jobs done {seconds:.1f} s after it continued, {once(runs, jobs)}"


SCENARIOS = {
    "start of a worker": startup,
    "idle worker, default poll interval": idle,
    "three steps in a row, one instance at a time": three_steps,
    "1,500 jobs of 2 s on 64 slots": slow_jobs,
    "engine stopped for 60 s under load": outage,
}
