"""No-op jobs from a stub engine, with limits that never bind, a journal, sync handlers or another Python, and without,
in turn."""

from __future__ import annotations

import json
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.driven import Load, Run, drive
from bench.page import NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.driven import Transport
    from bench.processes import Stub

LOAD = Load(10_000)
ROUNDS = 3
LIMITS = json.dumps([{"jobType": "noop", "parallelism": 1000, "perSecond": 100_000}])
WITHOUT = "nothing"
PYTHONS: dict[str, str] = {}
"""Other interpreters that have the worker installed, by their version."""


async def compare(engine: Stub, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Yield (scenario, figures) for each transport: the medians over rounds of one run with each."""
    transports: tuple[Transport, ...] = ("rest", "grpc")
    for transport in transports:
        rounds = [await _round(engine, folder, transport) for _ in range(ROUNDS)]
        for name in [name for name in rounds[0] if name != WITHOUT]:
            share = median(one[WITHOUT].stats["seconds"] / one[name].stats["seconds"] for one in rounds)
            more = median(one[name].cpu_ms / one[WITHOUT].cpu_ms for one in rounds)
            speed = median(LOAD.jobs / one[name].stats["seconds"] for one in rounds)
            yield (
                f"{name}, {LOAD.jobs:,} no-op jobs over {NAMES[transport]}",
                f"{speed:,.0f} jobs/s, {share:.0%} of a default worker's; {more:.2f} times its CPU a job",
            )


async def _round(engine: Stub, folder: Path, transport: Transport) -> dict[str, Run]:
    with TemporaryDirectory(dir=folder) as journal:
        further = {
            WITHOUT: {},
            "limits that never bind": {"limits": LIMITS},
            "a journal": {"journal_dir": journal},
            "sync handlers": {"registry": "plain"},
            **{f"Python {version}": {"python": python} for version, python in PYTHONS.items()},
        }
        return {
            name: await drive(engine, folder, "this worker", transport, LOAD, **settings)
            for name, settings in further.items()
        }
