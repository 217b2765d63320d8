"""`make bench-operator`: an operator process against a real control plane; prints a line per figure, asserts nothing.

`--write` also writes docs/operator-benchmarks.md. The variables BENCH_RESOURCES (1000,5000), BENCH_STEADY_SECONDS (120)
and BENCH_CHURN_SECONDS (60) make the run smaller.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from bench import operator_page, page
from bench.operator_cluster import SECRETS, Bench, running
from cluster.controlplane import ControlPlane

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

RESOURCES = [int(count) for count in os.environ.get("BENCH_RESOURCES", "1000,5000").split(",")]
STEADY_S = float(os.environ.get("BENCH_STEADY_SECONDS", "120"))
CHURN_S = int(os.environ.get("BENCH_CHURN_SECONDS", "60"))
FEW = 100
EDITED = 100
"""How many edits are timed."""


@dataclass(frozen=True)
class Grown:
    """From `before` to `resources` resources, and what they cost afterwards."""

    before: int
    resources: int
    created: float
    """Seconds until the last of them was created."""
    available: float
    """Seconds until all were available."""
    steady: float
    """Seconds until the operator's last write."""
    cpu: float
    calls: Counter[str]
    idle: Counter[str]
    """Calls of STEADY_S in which nothing changed."""
    idle_cpu: float
    edits: list[float]
    """Seconds from an edit of one resource to its Deployment, in ascending order."""
    churn: Churn
    megabytes: float


@dataclass(frozen=True)
class Churn:
    """1 % of the resources edited each second, and the token of another 1 % changed."""

    edits: list[float]
    """Seconds from an edit to its Deployment, in ascending order."""
    steady: float
    """Seconds from the last edit until the operator's last write."""
    cpu: float
    calls: Counter[str]
    megabytes: float


@dataclass(frozen=True)
class Restarted:
    """A new operator process, with everything in place already."""

    resources: int
    seconds: float
    """Until each resource has been reconciled."""
    cpu: float
    calls: Counter[str]
    megabytes: float


@dataclass
class Results:
    """What has been measured so far; it is printed, too."""

    rows: list[operator_page.Row] = field(default_factory=list)
    sizes: list[Grown] = field(default_factory=list)
    restarts: list[Restarted] = field(default_factory=list)

    def add_size(self, one: Grown) -> None:
        """Add a size."""
        self.sizes.append(one)
        self.show(operator_page.grown(one, STEADY_S))

    def add_restart(self, one: Restarted) -> None:
        """Add a restart."""
        self.restarts.append(one)
        self.show(operator_page.restarted(one))

    def show(self, rows: Iterable[operator_page.Row]) -> None:
        """Add rows, and print them."""
        for row in rows:
            self.rows.append(row)
            print(*row, sep=" | ", flush=True)


async def few(bench: Bench) -> tuple[list[float], list[float]]:
    """Return the seconds of edits, and of Deployments that come back, with FEW resources; in ascending order."""
    await bench.create(range(FEW))
    await bench.available(FEW)
    await bench.quiet()
    edits = sorted([await bench.edit(number, 7) for number in range(FEW)])
    await bench.quiet()
    return edits, sorted([await bench.delete(number) for number in range(20)])


async def grow(bench: Bench, before: int, resources: int) -> Grown:
    """Add resources and measure."""
    await bench.quiet()
    calls, cpu = bench.calls(), bench.cpu()
    began = time.perf_counter()
    await bench.create(range(before, resources))
    created = time.perf_counter() - began
    await bench.available(resources)
    available = time.perf_counter() - began
    steady = await bench.quiet() - began
    calls, cpu = bench.calls() - calls, bench.cpu() - cpu
    idle, idle_cpu = bench.calls(), bench.cpu()
    await asyncio.sleep(STEADY_S)
    idle, idle_cpu = bench.calls() - idle, bench.cpu() - idle_cpu
    edits = sorted([await bench.edit(number, resources) for number in range(EDITED)])
    await bench.quiet()
    megabytes = bench.megabytes()
    churned = await churn(bench, resources)
    return Grown(before, resources, created, available, steady, cpu, calls, idle, idle_cpu, edits, churned, megabytes)


async def churn(bench: Bench, resources: int) -> Churn:
    """Each second, edit those resources that share a Secret, and change the Secret of others."""
    calls, cpu = bench.calls(), bench.cpu()
    edits: list[asyncio.Task[float]] = []
    for second in range(CHURN_S):
        began = time.perf_counter()
        numbers = range(second % SECRETS, resources, SECRETS)
        edits += [asyncio.create_task(bench.edit(number, 10 + second)) for number in numbers]
        await bench.rotate(second + SECRETS // 2, str(second))
        await asyncio.sleep(began + 1 - time.perf_counter())
    last = time.perf_counter()
    seconds = sorted(await asyncio.gather(*edits))
    steady = await bench.quiet() - last
    return Churn(seconds, max(0.0, steady), bench.cpu() - cpu, bench.calls() - calls, bench.megabytes())


async def restarted(bench: Bench, began: float, resources: int) -> Restarted:
    """Wait until a new operator has reconciled everything."""
    while bench.operator.metric("rochallor_operator_reconciles_total") < resources:
        await asyncio.sleep(0.2)
    seconds = time.perf_counter() - began
    await bench.quiet()
    return Restarted(resources, seconds, bench.cpu(), bench.calls(), bench.megabytes())


async def measure(plane: ControlPlane, results: Results) -> None:
    """Print the figures as they are measured, first with few resources."""
    async with running(plane) as bench:
        results.show(operator_page.few(FEW, *await few(bench)))
    for before, resources in pairwise([FEW, *RESOURCES]):
        began = time.perf_counter()
        async with running(plane) as bench:
            results.add_restart(await restarted(bench, began, before))
            results.add_size(await grow(bench, before, resources))
    began = time.perf_counter()
    async with running(plane) as bench:
        results.add_restart(await restarted(bench, began, RESOURCES[-1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.operator", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/operator-benchmarks.md")
    wanted = parser.parse_args()
    where = f"{page.machine()}, load {os.getloadavg()[0]:.1f} before the run"
    print(where, flush=True)
    results = Results()
    with ControlPlane() as plane:
        plane.stop_controllers()
        asyncio.run(measure(plane, results))
    if wanted.write:
        operator_page.write(where, results.rows, results.sizes[-1], results.restarts, STEADY_S)


if __name__ == "__main__":
    main()
