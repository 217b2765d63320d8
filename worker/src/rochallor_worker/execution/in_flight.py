"""The jobs in flight: each is a task that holds a slot until it ends, except while it is parked."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.lease import Lease
from rochallor_worker.execution.slots import AllSlots, Slots


class Run(NamedTuple):
    """One job in flight."""

    task: asyncio.Task[None]
    job: ClaimedJob
    lease: Lease | None
    place: "Place"
    began: float
    """When it got its first slot, on the worker's clock."""


class Place:
    """The slot of one job in flight, which it gives back while it is parked."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._waits = False
        self.held = True
        self.ended = False
        """Whether the job's handler has ended, and the outcome is decided: what is left is to report it."""

    @property
    def waits(self) -> bool:
        """Whether the job waits for a slot, before jobs that are asked for."""
        return self._waits

    @waits.setter
    def waits(self, waits: bool) -> None:
        self._slots.owe(int(waits) - int(self._waits))
        self._waits = waits

    def vacate(self) -> None:
        """Give the slot back, if it is held."""
        if self.held:
            self.held = False
            self._slots.release()

    def regain(self) -> bool:
        """Take a slot again, if one is free; return whether one was."""
        self.held = self._slots.regain()
        if self.held:
            self.waits = False
        return self.held


class InFlight:
    """Tasks on slots, by the key of their job. A key can have two for a moment: one that ends, and the next one."""

    def __init__(self, slots: AllSlots, clock: Callable[[], float]) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._places: set[Place] = set()
        self._slots = slots
        self._clock = clock
        self._latest: dict[str, Run] = {}

    @property
    def runs(self) -> list[Run]:
        """The jobs in flight, the oldest first; of several attempts, the latest."""
        return sorted(self._latest.values(), key=lambda run: run.began)

    @property
    def job_ids(self) -> list[str]:
        """The ids of the jobs in flight, sorted; of several attempts, that of the first."""
        return sorted(run.job.id for run in self._latest.values())

    @property
    def conserved(self) -> bool:
        """Whether no slot has leaked: each busy one runs a job."""
        return self._slots.busy == sum(place.held for place in self._places) and self._slots.conserved

    def of(self, key: str) -> Run | None:
        """Return the run of a job, the later one if there are two."""
        return self._latest.get(key)

    def start(
        self,
        slots: Slots,
        job: ClaimedJob,
        work: Callable[[Place], Awaitable[None]],
        lease: Lease | None = None,
        *,
        after: Run | None = None,
    ) -> None:
        """Run `work` on a reserved slot of `slots`, freed when it ends; first wait for the run `after` to end."""
        place = Place(slots)

        async def on_a_slot() -> None:
            try:
                if after is not None:
                    await asyncio.wait({after.task})
                await work(place)
            finally:
                self._places.discard(place)
                self.tasks.discard(task)
                if (latest := self._latest.get(job.key)) is not None and latest.task is task:
                    del self._latest[job.key]
                place.vacate()

        slots.occupy()
        self._places.add(place)
        task = asyncio.create_task(on_a_slot(), name=f"job {job.id}")
        self.tasks.add(task)
        self._latest[job.key] = Run(task, job, lease, place, self._clock())
