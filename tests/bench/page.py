"""docs/benchmarks.md and its charts, from the results of one run."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench import plot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.soak import Sample
    from bench.throughput import Result

DOCS = Path(__file__).parents[2] / "docs"

PAGE = """<!-- Written by `make bench-docs` from one run; edit the text in tests/bench/page.py. -->

# Benchmarks

{machine}. `make bench` repeats it on yours.

## Throughput and cost

No-op jobs from a stub engine in a process of its own, which gives out jobs as fast as it can, or takes at most 1,158
outcomes a second: what a raw client got from a real engine with its PostgreSQL. *Raw client*: polls and completes on 16
connections and does nothing else, with the same libraries. *Naive loop*: polls every 500 ms for as many jobs as it has
slots. CPU is that of the client's process. Over gRPC a job costs one call more: its variables must be read.

{table}

![jobs a second](benchmarks/throughput.svg)

## What a worker promises

Against the development engine, or with a real Kafka; default settings. In *engine away* its process stands still
(SIGSTOP). If a poll was in flight, the engine carries that out when it goes on, though nobody waits for its answer any
more: those jobs come again when their lease has ended, 30 to 45 s later. Without such a poll all is done in a second.

{promised}

## A million jobs

![memory and CPU per job over a million jobs](benchmarks/soak.svg)
"""


def machine() -> str:
    """Where this was measured."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"


def row(result: Result) -> tuple[str, ...]:
    """A result in words."""
    memory = "" if result.rss_mb is None else f"{result.rss_mb:.0f} MB"
    return (
        {"rest": "REST", "grpc": "gRPC"}[result.transport],
        result.engine,
        result.client,
        f"{result.jobs_per_second:,.0f} jobs/s",
        f"{result.cpu_ms:.3f} ms",
        memory,
    )


def write(results: Sequence[Result], figures: Sequence[tuple[str, str]], samples: Sequence[Sample]) -> None:
    """Write the page and its charts."""
    charts = DOCS / "benchmarks"
    charts.mkdir(exist_ok=True)
    table = ["| transport | engine | client | throughput | CPU per job | memory |", "|---|---|---|---|---|---|"]
    table += ["| " + " | ".join(row(result)) + " |" for result in results]
    promised = ["| scenario | measured |", "|---|---|", *(f"| {name} | {figure} |" for name, figure in figures)]
    bars = [
        (f"{row(one)[0]}, {one.client}", one.jobs_per_second, one.client == "this worker")
        for one in results
        if one.engine.startswith("as fast")
    ]
    (charts / "throughput.svg").write_text(plot.bars("No-op jobs a second from a fast stub engine", "jobs/s", bars))
    page = PAGE.format(machine=machine(), table="\n".join(table), promised="\n".join(promised))
    if samples:
        series = [
            ("memory, MB", [(sample.jobs / 1e6, sample.rss_mb) for sample in samples]),
            ("CPU per job, ms", [(sample.jobs / 1e6, sample.cpu_ms) for sample in samples]),
        ]
        (charts / "soak.svg").write_text(plot.lines("A million no-op jobs through one worker", "million jobs", series))
    (DOCS / "benchmarks.md").write_text(page, encoding="utf-8")
