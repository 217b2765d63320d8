"""No-op jobs from a stub engine, with limits that never bind and without, in turn."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

from bench.driven import Load, drive
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
        speeds: dict[str, list[float]] = {LIMITS: [], "": []}
        for _ in range(PAIRS):
            for limits, measured in speeds.items():
                further = {"limits": limits} if limits else {}
                run = await drive(engine, folder, "this worker", transport, LOAD, **further)
                measured.append(LOAD.jobs / run.stats["seconds"])
        limited, free = (median(each) for each in speeds.values())
        figures = f"{limited:,.0f} jobs/s, {limited / free:.0%} of the {free:,.0f} jobs/s without"
        yield f"limits that never bind, {LOAD.jobs:,} no-op jobs over {NAMES[transport]}", figures
