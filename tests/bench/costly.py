"""No-op jobs from a stub whose calls cost what those of a real engine do: this worker beside a raw client, in turn.

Engine, client and whatever else runs share the machine, so it shows what no fast stub can: slots that wait for a poll.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bench.driven import Load, drive
from bench.page import NAMES
from bench.processes import Costs, busy_loops

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.driven import Client, Run, Transport
    from bench.processes import Stub

ENGINE = Costs(poll=3, job=0.04, outcome=1.7)
"""As measured on an engine that shares two cores with its PostgreSQL."""
LOAD = Load(3_000, costs=ENGINE)
PAIRS = 3
BESIDE = {0: "", 2: ", beside two busy loops"}


async def compare(engine: Stub, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Yield (scenario, figures) for each transport, alone and beside busy loops: medians of runs that take turns."""
    transports: tuple[Transport, ...] = ("rest", "grpc")
    for transport in transports:
        for loops, beside in BESIDE.items():
            runs: dict[Client, list[Run]] = {"raw client": [], "this worker": []}
            async with busy_loops(loops):
                for _ in range(PAIRS):
                    for client, measured in runs.items():
                        measured.append(await drive(engine, folder, client, transport, LOAD))
            raw, ours = runs.values()
            share = median(one.stats["seconds"] / other.stats["seconds"] for one, other in zip(raw, ours, strict=True))
            speed, cpu = median(LOAD.jobs / run.stats["seconds"] for run in ours), median(run.cpu_ms for run in ours)
            figures = f"{share:.0%} of the raw client's jobs/s: {speed:,.0f}; {cpu:.3f} ms CPU a job"
            yield f"an engine like a real one over {NAMES[transport]}{beside}, {LOAD.jobs:,} no-op jobs", figures
