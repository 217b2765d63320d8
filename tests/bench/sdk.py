"""`python -m bench.sdk PYTHON`: the engine's Python SDK beside this worker, with no-op jobs over REST, in turn.

PYTHON is the interpreter of an environment with `rochallor-sdk`, which nothing else here needs. It is used as its page
on PyPI shows. Both run against a dev engine on the same machine. Prints the figures of each round; `--write` keeps
those of all rounds in docs/figures/sdk.json, for `make docs`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import time
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.load import chain, completed, start, upload
from bench.page import machine
from bench.processes import Worker, engine, worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from bench.processes import Engine

SDK_WORKER = """
import sys, time
from workflow_sdk.client.rest import RestEngineClient
from workflow_sdk.handler.registry import HandlerRegistry
from workflow_sdk.runner.runner import Runner

registry = HandlerRegistry()
registry.register("noop", lambda context: {"started": time.time()})
Runner(client=RestEngineClient(sys.argv[1]), registry=registry, worker_id="sdk", parallelism=64, OPTIONS).run()
"""
FILE = Path(__file__).parents[2] / "docs" / "figures" / "sdk.json"
WARM_UP = 200
"""Jobs before the clock starts: by then the process is loaded and connected."""
CHAINS = 10
"""Instances of three steps, one after another."""
LOOK_S = 0.005
"""Seconds between two looks at one of them."""


class Contestant(NamedTuple):
    """A worker and how many jobs it runs: this one, or the SDK's with a further argument of its Runner."""

    name: str
    jobs: int
    sdk_options: str | None = None


CONTESTANTS = (
    Contestant("this worker", 5_000),
    Contestant("SDK 1.1.0", 1_500, ""),
    Contestant("SDK 1.1.0", 5_000, "poll_interval=0.01"),
    Contestant("SDK 1.1.0", 1_500, "heartbeat=True"),
)


class Round(NamedTuple):
    """The figures of one round."""

    jobs_per_second: float
    cpu_ms: float
    chain_seconds: float


def working(who: Contestant, there: Engine, folder: Path, python: Path) -> AbstractAsyncContextManager[Worker]:
    """Run a worker process with 64 slots and otherwise the defaults."""
    if who.sdk_options is None:
        return worker(folder, engine_url=there.url)
    return _sdk_worker(python, there.url, who.sdk_options)


@asynccontextmanager
async def _sdk_worker(python: Path, url: str, options: str) -> AsyncIterator[Worker]:
    running = await asyncio.create_subprocess_exec(
        python, "-c", SDK_WORKER.replace("OPTIONS", options), url, stderr=subprocess.DEVNULL, env=os.environ
    )
    try:
        yield Worker("", running.pid)
    finally:
        running.send_signal(signal.SIGTERM)
        await running.wait()


async def measure(who: Contestant, python: Path) -> Round:
    """Measure one round with a new engine: first a backlog, then three steps in a row."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with engine(folder) as there:
            await upload(there.client, "noop")
            await start(there.client, WARM_UP + who.jobs)
            async with working(who, there, folder, python) as process:
                before = await completed(there.client, WARM_UP)
                began, cpu = time.perf_counter(), process.cpu_seconds
                jobs = await completed(there.client, WARM_UP + who.jobs) - before
                seconds, cpu = time.perf_counter() - began, process.cpu_seconds - cpu
                await upload(there.client, "noop", "noop", "noop")
                chains = [await chain(there.client, LOOK_S) for _ in range(CHAINS)]
    return Round(jobs / seconds, cpu / jobs * 1000, median(chains))


def row(who: Contestant, rounds: list[Round], ours: list[Round]) -> dict[str, Any]:
    """Return a worker's figures: throughput lowest, median and highest; CPU as a multiple of ours."""
    rates = [run.jobs_per_second for run in rounds]
    return {
        "worker": who.name,
        "options": who.sdk_options or "",
        "jobs_per_second": [round(rate) for rate in (min(rates), median(rates), max(rates))],
        "cpu": _short(_cpu(rounds) / _cpu(ours)),
        "chain_seconds": _short(median(run.chain_seconds for run in rounds)),
    }


def _cpu(rounds: list[Round]) -> float:
    return median(run.cpu_ms for run in rounds)


def _short(figure: float) -> float:
    return float(f"{figure:.2g}")


def write(rounds: dict[Contestant, list[Round]]) -> None:
    """Write the file, one worker a line."""
    ours, *_ = rounds.values()
    rows = ",\n".join(json.dumps(row(who, runs, ours)) for who, runs in rounds.items())
    head = f'"machine": {json.dumps(machine())}, "rounds": {len(ours)}'
    FILE.write_text(f'{{{head}, "rows": [\n{rows}\n]}}\n', encoding="utf-8")


async def main() -> None:
    """Measure the workers in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench.sdk", description=__doc__)
    parser.add_argument("python", type=Path, help="an interpreter that has rochallor-sdk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/figures/sdk.json")
    wanted = parser.parse_args()
    rounds: dict[Contestant, list[Round]] = {who: [] for who in CONTESTANTS}
    for _ in range(wanted.rounds):
        for who, runs in rounds.items():
            runs.append(await measure(who, wanted.python))
            print(who.name, who.sdk_options or "", *(f"{figure:.3g}" for figure in runs[-1]), flush=True)
    if wanted.write:
        write(rounds)


if __name__ == "__main__":
    asyncio.run(main())
