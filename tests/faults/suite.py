"""How faults are declared and injected: a fault is one function, a suite is a dict of them and what they share.

async def connection_reset(broker: Broker, trial: Trial) -> Jobs:
    '''Set up an engine of `trial.fleet` and processes in `trial.folder`, inject the fault, count.'''

KAFKA = Suite("Kafka", a_broker, {"connection reset": connection_reset})
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from faults.fleet import ANY, Fleet
from faults.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

S = TypeVar("S")
R = TypeVar("R", bound=Result)


class Case(NamedTuple):
    """A fault on one fleet of engines."""

    fault: str
    fleet: Fleet

    def __str__(self) -> str:
        return self.fault if self.fleet is ANY else f"{self.fault} ({self.fleet.name})"


Played = dict[Case, Result | Exception]
"""Case → its figures, or why there are none."""


@dataclass(frozen=True)
class Size:
    """The size of a run. Times in seconds."""

    jobs: int
    lease: float
    """The engine's lease. What must outlast it lasts twice as long."""
    sweep: float
    """How often the engine checks for expired leases."""
    long: float
    """How long a long job takes: several leases."""
    outage: float
    """How long a dependency is away."""


SMALL = Size(jobs=60, lease=8, sweep=1, long=24, outage=20)
"""For `make test`. Even on a busy machine no job may outlast its lease."""
FULL = Size(jobs=500, lease=30, sweep=15, long=600, outage=180)
"""The engine's own times (engine.md)."""

NO_FAULT = "no fault"
"""The row to compare a suite's others with."""


@dataclass(frozen=True)
class Trial:
    """One injection of one fault."""

    folder: Path
    """A folder of its own, where its processes' output is kept."""
    size: Size
    fleet: Fleet
    starting: asyncio.Semaphore
    """Held while a process starts: on a busy machine, many starts at the same time would never end."""

    def random(self) -> Random:
        """Return a generator that is the same each time this round of this fault is run."""
        return Random("/".join(self.folder.parts[-2:]))


STARTING_AT_ONCE = 2
"""Processes of a suite that may start at the same time."""

Play = Callable[[S, Trial], Awaitable[Result]]


@dataclass(frozen=True)
class Suite(Generic[S]):
    """Faults that share a server, which must outlive every one of them."""

    name: str
    server: Callable[[], AbstractContextManager[S]]
    faults: dict[str, Play[S]]
    fleets: tuple[Fleet, ...] = (ANY,)
    """The engines that each fault is injected on."""
    only: Mapping[str, tuple[Fleet, ...]] = field(default_factory=dict)
    """Exceptions: faults that are injected on other engines than these."""
    crucial: Mapping[str, tuple[Fleet, ...]] = field(default_factory=dict)
    """Faults that a short run injects on these, not on the newest engines: a worker must behave differently there."""
    at_once: int = 1
    """How many may run at the same time: most of a run is waiting."""

    @property
    def cases(self) -> list[Case]:
        """Every fault on every fleet."""
        return [Case(fault, fleet) for fault in self.faults for fleet in self.only.get(fault, self.fleets)]

    @property
    def short(self) -> list[Case]:
        """Every fault on the newest of its engines, or where it is crucial."""
        newest = {case.fault: case.fleet for case in self.cases}
        return [case for case in self.cases if case.fleet in self.crucial.get(case.fault, (newest[case.fault],))]

    async def play(
        self,
        server: S,
        size: Size,
        folder: Path,
        cases: Iterable[Case],
        report: Callable[[Case, Result | Exception], object] = lambda *_: None,
    ) -> Played:
        """Inject these once each; report each result as soon as it is known."""
        room, starting, played = asyncio.Semaphore(self.at_once), asyncio.Semaphore(STARTING_AT_ONCE), Played()

        async def one(case: Case) -> None:
            async with room:
                own = folder / re.sub(r"\W+", "-", f"{case}").strip("-")
                own.mkdir(parents=True)
                try:
                    played[case] = await self.faults[case.fault](server, Trial(own, size, case.fleet, starting))
                except Exception as error:  # noqa: BLE001 — one that cannot be played must not stop the others
                    played[case] = error
                report(case, played[case])

        await asyncio.gather(*map(one, cases))
        return played


def in_thread(play: Callable[[S, Trial], R]) -> Callable[[S, Trial], Awaitable[R]]:
    """Run a fault that waits without an event loop in a thread."""

    async def played(server: S, trial: Trial) -> R:
        return await asyncio.to_thread(play, server, trial)

    return played
