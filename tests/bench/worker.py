"""`make bench`: a worker process and an engine process on this machine; prints a line per scenario, asserts nothing."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx

from rochallor_worker import InstanceStatus, RestClient

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

HANDLERS = """
import asyncio
from rochallor_worker import Registry
registry = Registry()

@registry.handler("noop")
async def noop(job): ...

@registry.handler("brief")
async def brief(job):
    await asyncio.sleep(0.1)

@registry.handler("slow")
async def slow(job):
    await asyncio.sleep(2)
"""


def main() -> None:
    """Run every scenario."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, defaults, REST")
    with TemporaryDirectory() as folder:
        Path(folder, "bench_handlers.py").write_text(HANDLERS, encoding="utf-8")
        for scenario in (idle, three_steps, throughput, slow_jobs, outage):
            asyncio.run(scenario(Path(folder)))


async def idle(folder: Path) -> None:
    """Polls per second of a worker that finds nothing."""
    async with engine(folder) as (url, _, _), worker(folder, url) as running:
        await asyncio.sleep(3)
        before = await running.metric("rochallor_worker_polls_total")
        await asyncio.sleep(20)
        polls = await running.metric("rochallor_worker_polls_total") - before
    print(f"idle: {polls / 20:.2f} polls/s")


async def three_steps(folder: Path) -> None:
    """Start to end of instances with three steps, one after another."""
    async with engine(folder) as (url, client, _), worker(folder, url):
        await upload(client, "noop", "noop", "noop")
        seconds = []
        for _ in range(200):
            began = time.perf_counter()
            instance = await client.start_instance("bench")
            while (await client.get_instance(instance.id)).status is InstanceStatus.ACTIVE:
                await asyncio.sleep(0.001)
            seconds.append(time.perf_counter() - began)
    cuts = quantiles(seconds, n=100)
    print(f"three steps, one instance at a time: p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms")


async def throughput(folder: Path) -> None:
    """No-op jobs that are all there when the worker starts."""
    jobs = 5000
    async with engine(folder) as (url, client, _):
        await upload(client, "noop")
        await start(client, jobs)
        began = time.perf_counter()
        async with worker(folder, url) as running:
            await completed(client, jobs)
            seconds = time.perf_counter() - began
            cpu = await running.metric("process_cpu_seconds_total")
    print(
        f"{jobs} no-op jobs: {jobs / seconds:.0f} jobs/s with the process's start, {cpu / jobs * 1000:.2f} ms CPU a job"
    )


async def slow_jobs(folder: Path) -> None:
    """1,500 jobs of 2 s on 64 slots: runs too many, and how much of the slots' time was used."""
    jobs, ideal = 1500, 1500 * 2 / 64
    async with engine(folder) as (url, client, _):
        await upload(client, "slow")
        await start(client, jobs)
        async with worker(folder, url) as running:
            began = time.perf_counter()
            await completed(client, jobs)
            seconds = time.perf_counter() - began
            runs = await running.metric("rochallor_worker_handler_seconds_count")
    print(f"{jobs} jobs of 2 s: {runs:.0f} runs, {seconds:.1f} s ({ideal / seconds:.0%} of the ideal)")


async def outage(folder: Path) -> None:
    """The engine's process stands still for 60 s under load (SIGSTOP): what is lost, how soon the backlog is served."""
    jobs = 2000
    async with engine(folder) as (url, client, process), worker(folder, url) as running:
        await upload(client, "noop")
        await start(client, jobs)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(60)
        process.send_signal(signal.SIGCONT)
        began = time.perf_counter()
        await completed(client, jobs)
        runs = await running.metric("rochallor_worker_handler_seconds_count")
    seconds = time.perf_counter() - began
    print(f"engine away for 60 s: all of {jobs} jobs done {seconds:.1f} s after its return, {runs:.0f} runs")


class Worker:
    """A worker process that is watched through its metrics."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        async with httpx.AsyncClient() as http:
            lines = (await http.get(f"{self.url}/metrics")).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[ {{]", line))


@asynccontextmanager
async def engine(folder: Path, *options: str) -> AsyncIterator[tuple[str, RestClient, Process]]:
    """A dev engine in a process of its own."""
    async with _process(folder, "dev-engine", "--port", "0", "--grpc-port", "0", *options) as (running, log):
        url = await _logged(log, r'"url": "([^"]+)"')
        async with RestClient(url, timeout=120) as client:
            yield url, client, running


@asynccontextmanager
async def worker(folder: Path, url: str, **settings: str) -> AsyncIterator[Worker]:
    """A worker process with its defaults, and these settings."""
    arguments = ("run", "bench_handlers:registry")
    async with _process(folder, *arguments, engine_url=url, metrics_port="0", **settings) as (_, log):
        port = await _logged(log, r'"metrics_port": (\d+)')
        yield Worker(f"http://127.0.0.1:{port}")


@asynccontextmanager
async def _process(folder: Path, *arguments: str, **settings: str) -> AsyncIterator[tuple[Process, Path]]:
    environment = {**os.environ, **{f"ROCHALLOR_{name.upper()}": value for name, value in settings.items()}}
    log = folder / f"{arguments[0]}.log"
    with log.open("wb") as file:
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rochallor_worker", *arguments, cwd=folder, env=environment, stderr=file
        )
    try:
        yield running, log
    finally:
        running.send_signal(signal.SIGTERM)
        await running.wait()


async def _logged(log: Path, pattern: str) -> str:
    while (found := re.search(pattern, log.read_text(encoding="utf-8"))) is None:
        await asyncio.sleep(0.02)
    return found[1]


async def upload(client: RestClient, *job_types: str) -> None:
    """A definition `bench` of one step per job type."""
    steps: list[dict[str, object]] = [
        {"id": f"s{n}", "name": kind, "type": "SERVICE_TASK", "jobType": kind, "nextStep": f"s{n + 1}"}
        for n, kind in enumerate(job_types)
    ]
    end = {"id": f"s{len(job_types)}", "name": "end", "type": "END"}
    await client.upload_definition({"id": "bench", "name": "bench", "steps": [*steps, end]})


async def start(client: RestClient, count: int) -> None:
    """Start instances, sixteen at a time."""

    async def some(share: int) -> None:
        for _ in range(share):
            await client.start_instance("bench")

    await asyncio.gather(*(some(count // 16 + (n < count % 16)) for n in range(16)))


async def completed(client: RestClient, count: int) -> int:
    """Wait until that many instances are COMPLETED, and return how many are."""
    while (done := (await client.list_instances(status=InstanceStatus.COMPLETED, page_size=1)).total) < count:
        await asyncio.sleep(0.05)
    return done


if __name__ == "__main__":
    main()
