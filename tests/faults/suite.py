"""How faults are declared and played: a fault is one function, a suite is a dict of them and what they share.

async def connection_reset(broker: Broker, trial: Trial) -> Jobs:
    '''Set up real processes in `trial.folder`, do the fault to some `trial.jobs`, count, return the figures.'''

KAFKA = Suite("Kafka", a_broker, {"connection reset": connection_reset})
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from faults.result import Result

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

S = TypeVar("S")


@dataclass(frozen=True)
class Size:
    """How much is played. Seconds."""

    jobs: int
    lease: float
    """The engine's lease. What must outlast it lasts twice as long."""
    sweep: float
    """How often the engine looks for leases that have ended."""


SMALL = Size(jobs=60, lease=8, sweep=1)
"""For `make test`. No run may outlast a lease because the machine is busy."""
FULL = Size(jobs=500, lease=30, sweep=15)
"""The engine's own times (engine.md)."""


@dataclass(frozen=True)
class Trial:
    """One play of one fault."""

    folder: Path
    """Its own: what its processes write is left here."""
    size: Size


Play = Callable[[S, Trial], Awaitable[Result]]


@dataclass(frozen=True)
class Suite(Generic[S]):
    """Faults that share a server, which must outlive every one of them."""

    name: str
    server: Callable[[], AbstractContextManager[S]]
    faults: dict[str, Play[S]]
    at_once: int = 1
    """How many may be played at the same time: most of a play is waiting."""

    async def play(
        self, server: S, size: Size, folder: Path, names: Iterable[str]
    ) -> AsyncGenerator[tuple[str, Result | Exception]]:
        """Play these faults once each; give what came of each as it ends: figures, or why there are none."""
        room = asyncio.Semaphore(self.at_once)

        async def one(name: str) -> tuple[str, Result | Exception]:
            async with room:
                own = folder / name.replace(" ", "-").replace("/", "-")
                own.mkdir(parents=True)
                try:
                    return name, await self.faults[name](server, Trial(own, size))
                except Exception as error:  # noqa: BLE001 — one that cannot be played must not stop the others
                    return name, error

        for ended in asyncio.as_completed([one(name) for name in names]):
            yield await ended
