"""No-op jobs from a stub engine, with limits that never bind and without, in turn."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

from bench.driven import Load, Run, drive
from bench.page import NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.driven import Transport
    from bench.processes import Stub

LOAD = Load(10_000)
PAIRS = 5
LIMITS = json.dumps([{"jobType": "noop", "parallelism": 1000, "perSecond": 100_000}])


async def compare(engine: Stub, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Yield (scenario, figures) for each transport: the medians of runs that take turns."""
    transports: tuple[Transport, ...] = ("rest", "grpc")
    for transport in transports:
        runs: dict[str, list[Run]] = {LIMITS: [], "": []}
        for _ in range(PAIRS):
            for limits, measured in runs.items():
                further = {"limits": limits} if limits else {}
                measured.append(await drive(engine, folder, "this worker", transport, LOAD, **further))
        limited, free = (median(LOAD.jobs / run.stats["seconds"] for run in each) for each in runs.values())
        cpu, cpu_free = (median(run.cpu_ms for run in each) for each in runs.values())
        figures = (
            f"{limited:,.0f} jobs/s, {limited / free:.0%} of the {free:,.0f} jobs/s without; "
            f"{cpu:.3f} ms CPU a job, {cpu_free:.3f} ms without"
        )
        yield f"limits that never bind, {LOAD.jobs:,} no-op jobs over {NAMES[transport]}", figures
