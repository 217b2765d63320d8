"""How faults are declared and played: a fault is one function, a suite is a dict of them and what they share.

async def connection_reset(broker: Broker, trial: Trial) -> Jobs:
    '''Set up real processes in `trial.folder`, do the fault to some `trial.jobs`, count, return the figures.'''

KAFKA = Suite("Kafka", a_broker, {"connection reset": connection_reset})
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Generic, TypeVar

from faults.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

S = TypeVar("S")
R = TypeVar("R", bound=Result)
Played = dict[str, Result | Exception]
"""Fault → what came of it: figures, or why there are none."""


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

NO_FAULT = "no fault"
"""The row to compare a suite's others with: what their work takes by itself."""


@dataclass(frozen=True)
class Trial:
    """One play of one fault."""

    folder: Path
    """Its own: what its processes write is left here."""
    size: Size

    def random(self) -> Random:
        """Draws that are the same whenever this round of this fault is played."""
        return Random("/".join(self.folder.parts[-2:]))


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
        self,
        server: S,
        size: Size,
        folder: Path,
        names: Iterable[str],
        tell: Callable[[str, Result | Exception], object] = lambda *_: None,
    ) -> Played:
        """Play these faults once each; tell what came of each as soon as it has ended."""
        room, played = asyncio.Semaphore(self.at_once), Played()

        async def one(name: str) -> None:
            async with room:
                own = folder / name.replace(" ", "-").replace("/", "-")
                own.mkdir(parents=True)
                try:
                    played[name] = await self.faults[name](server, Trial(own, size))
                except Exception as error:  # noqa: BLE001 — one that cannot be played must not stop the others
                    played[name] = error
                tell(name, played[name])

        await asyncio.gather(*map(one, names))
        return played


def in_thread(play: Callable[[S, Trial], R]) -> Callable[[S, Trial], Awaitable[R]]:
    """A play that waits without an event loop."""

    async def played(server: S, trial: Trial) -> R:
        return await asyncio.to_thread(play, server, trial)

    return played
