"""No-op jobs that arrive one by one, however long earlier ones take: how long each waits."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import quantiles
from typing import TYPE_CHECKING

from bench.driven import Load, drive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.driven import Client, Transport
    from bench.processes import Stub

LOADS: dict[Client, Load] = {
    "raw client": Load(1600, arrivals=200),
    "this worker": Load(1600, arrivals=200),
    "naive loop": Load(800, arrivals=100),
}
"""The naive loop cannot take 200 jobs a second."""
UNCOUNTED = 0.1
"""Share of the first jobs that is left out: an idle client has not noticed yet that there is work."""


@dataclass(frozen=True)
class Latency:
    """One client's run. Percentiles 50 and 99, in milliseconds."""

    transport: Transport
    client: Client
    arrivals: float
    """Jobs a second."""
    start: tuple[float, float]
    """From the claim, at the engine, to the start of the handler."""
    outcome: tuple[float, float]
    """From when the engine could hand it out to when the engine has its outcome."""


async def compare(engine: Stub, folder: Path) -> AsyncIterator[Latency]:
    """Run every client over both transports."""
    transports: tuple[Transport, ...] = ("rest", "grpc")
    for transport in transports:
        for client, load in LOADS.items():
            await drive(engine, folder, client, transport, load)
            waits = await engine.waits()
            yield Latency(
                transport, client, load.arrivals, _percentiles(waits["start"]), _percentiles(waits["outcome"])
            )


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    cuts = quantiles(seconds[int(len(seconds) * UNCOUNTED) :], n=100)
    return cuts[49] * 1000, cuts[98] * 1000
