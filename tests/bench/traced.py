"""No-op jobs from a stub engine without traces, with a tenth of them sampled, and with all, in turn."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bench.driven import Load, drive
from bench.page import NAMES
from otlp import receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.driven import Run, Transport
    from bench.processes import Stub

LOAD = Load(10_000)
ROUNDS = 3
AWAY = "http://127.0.0.1:9"
"""Nothing listens there."""
TENTH, ALL, UNTAKEN = "a tenth sampled", "all sampled", "no collector"
OTHERS = {"": "without", TENTH: "with a tenth sampled and a collector"}
"""What each is compared with."""


async def compare(engine: Stub, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Yield (scenario, figures) for each transport: the medians over rounds of each with and without traces."""
    transports: tuple[Transport, ...] = ("rest", "grpc")
    for transport in transports:
        rounds = [await _round(engine, folder, transport) for _ in range(ROUNDS)]
        speed, cpu = median(one[""].stats["seconds"] for one in rounds), median(one[""].cpu_ms for one in rounds)
        yield (
            f"no traces, {LOAD.jobs:,} no-op jobs over {NAMES[transport]}",
            f"{LOAD.jobs / speed:,.0f} jobs/s; {cpu:.3f} ms CPU a job",
        )
        for name, beside in ((TENTH, ""), (ALL, ""), (UNTAKEN, TENTH)):
            share = median(one[beside].stats["seconds"] / one[name].stats["seconds"] for one in rounds)
            more = median(one[name].cpu_ms / one[beside].cpu_ms for one in rounds) - 1
            yield (
                f"traces, {name}, {LOAD.jobs:,} no-op jobs over {NAMES[transport]}",
                f"{share:.0%} of the jobs/s {OTHERS[beside]}; {more:+.0%} CPU a job",
            )


async def _round(engine: Stub, folder: Path, transport: Transport) -> dict[str, Run]:
    """Measure each once."""
    measured = {}
    for name in ("", TENTH, ALL, UNTAKEN):
        async with receiving() as receiver:
            variables = {
                "otel_exporter_otlp_endpoint": AWAY if name == UNTAKEN else receiver.url,
                "otel_traces_sampler": "parentbased_traceidratio",
                "otel_traces_sampler_arg": "1" if name == ALL else "0.1",
            }
            further = variables if name else {}
            measured[name] = await drive(engine, folder, "this worker", transport, LOAD, **further)
            assert bool(receiver.spans) is (name in {TENTH, ALL}), f"{name}: {len(receiver.spans)} spans"
    return measured
