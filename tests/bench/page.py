"""docs/benchmarks.md and its charts, from the results of one run."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench import plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.latencies import Latency
    from bench.soak import Sample
    from bench.throughput import Result

DOCS = Path(__file__).parents[2] / "docs"
NAMES = {"rest": "REST", "grpc": "gRPC"}

PAGE = """<!-- Written by `make bench-docs` from one run; edit the text in tests/bench/page.py. -->

# Benchmarks

{machine}. `make bench` repeats it on yours.

## Throughput and cost

No-op jobs (they return the time of their start) from a stub engine in a process of its own, which gives out jobs as
fast as it can, or takes at most 1,158 outcomes a second: what a raw client got from a real engine with its PostgreSQL.
*Raw client*: polls and completes on 16 connections and does nothing else, with the same libraries. *Naive loop*: polls
every 500 ms for as many jobs as it has slots. CPU is that of the client's process. Over gRPC a job costs one call more:
its variables must be read.

{table}

![jobs a second](benchmarks/throughput.svg)

## Latency

The same jobs, coming one by one at random times, whatever becomes of those before: 200 a second, or 100 for the naive
loop, which cannot take more. *Claim → start*: from the engine's giving a job out to the start of its handler. *Ready →
outcome*: from when the engine could give it out to when the engine has its outcome. All times are read off one
machine's clock. The first tenth of the jobs is left out: a worker at rest has yet to hear that there is work, and looks
every 500 ms. The raw client never rests: its 16 connections poll without a pause.

{latencies}

## What a worker promises

Against the development engine, or with a real Kafka and the stub as the engine that takes the outcomes; default
settings. In *engine away* its process stands still (SIGSTOP). If a poll was in flight, the engine carries that out when
it goes on, though nobody waits for its answer any more: those jobs come again when their lease has ended, 30 to 45 s
later. Without such a poll all is done in a second.

{promised}

## A million jobs

![memory and CPU per job over a million jobs](benchmarks/soak.svg)

## What was tried

CPU time per no-op job, over REST unless it says otherwise, of two workers side by side that were given jobs in turn:
the median of 10 to 24 pairs of turns, on 2026-11-24. A change stays if it saves 3 % or more and the code reads as well.

| kept | CPU per job |
|---|---|
| aiohttp alone, without httpx's requests and answers around it | −35 % |
| the garbage collector leaves out what is loaded and waits for 10,000 new objects, not 700 | −21 %, gRPC −13 % |
| a sync handler's result comes back by one future, not by the executor's and one more on the loop | −7 % |
| the first two together | −45 % |

| left out | CPU per job | why |
|---|---|---|
| the result encoded once, its bytes handed on to the client | −1 % | gRPC and the journal would have to know them |
| each label's metric looked up once | −2.9 % | |
| a flag in each job instead of an event | 0 % | |
| the garbage collector waits for 50,000 objects | 0 % | |
| journal: its line of a settled job written along with the next | −2 to −5 % | the file would lag behind the truth |
| sync handlers: threads and a queue of our own | −5 % (timed alone) | a thread pool to maintain |
| gRPC: arguments told apart by class, not by `isinstance` | 0 % | |
| gRPC: a channel without retries | −2.6 % | calls that never left would no longer be sent again unseen |
| Kafka: four times as many records fetched ahead | +4 % (5 pairs) | the client's own threads take 1 µs a job as it is |
| logging | | nothing is logged per job; its logger is made when a handler asks for it |
| eager tasks | | Python 3.11 has none |

Kafka with jobs of 100 ms that start together: they end together too, and a whole wave of outcomes is sent and answered
in one go, each call waiting for the CPU time of those before it. What makes a call cheaper is what shortens that.
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
        NAMES[result.transport],
        result.engine,
        result.client,
        f"{result.jobs_per_second:,.0f} jobs/s",
        f"{result.cpu_ms:.3f} ms",
        memory,
    )


def latency_row(latency: Latency) -> tuple[str, ...]:
    """Latencies in words."""
    return (
        NAMES[latency.transport],
        latency.client,
        f"{latency.arrivals:,.0f} jobs/s",
        *(f"{value:.1f} ms" for value in (*latency.start, *latency.outcome)),
    )


def write(
    results: Sequence[Result],
    latencies: Sequence[Latency],
    figures: Sequence[tuple[str, str]],
    samples: Sequence[Sample],
) -> None:
    """Write the page and its charts."""
    charts = DOCS / "benchmarks"
    charts.mkdir(exist_ok=True)
    table = _table(("transport", "engine", "client", "throughput", "CPU per job", "memory"), map(row, results))
    waits = _table(
        ("transport", "client", "arrivals", "claim → start, p50", "p99", "ready → outcome, p50", "p99"),
        map(latency_row, latencies),
    )
    promised = _table(("scenario", "measured"), figures)
    bars = [
        (f"{row(one)[0]}, {one.client}", one.jobs_per_second, one.client == "this worker")
        for one in results
        if one.engine.startswith("as fast")
    ]
    (charts / "throughput.svg").write_text(plot.bars("No-op jobs a second from a fast stub engine", "jobs/s", bars))
    page = PAGE.format(machine=machine(), table=table, latencies=waits, promised=promised)
    if samples:
        series = [
            ("memory, MB", [(sample.jobs / 1e6, sample.rss_mb) for sample in samples]),
            ("CPU per job, ms", [(sample.jobs / 1e6, sample.cpu_ms) for sample in samples]),
        ]
        (charts / "soak.svg").write_text(plot.lines("A million no-op jobs through one worker", "million jobs", series))
    (DOCS / "benchmarks.md").write_text(page, encoding="utf-8")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
