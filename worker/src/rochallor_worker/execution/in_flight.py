"""The jobs in flight: each is a task that holds a slot until it ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.lease import Lease
from rochallor_worker.execution.slots import AllSlots, Slots


class Run(NamedTuple):
    """One job in flight."""

    task: asyncio.Task[None]
    job: ClaimedJob
    lease: Lease | None


class InFlight:
    """Tasks on slots, by the key of their job. A key can have two for a moment: one that ends, and the next one."""

    def __init__(self, slots: AllSlots) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._slots = slots
        self._latest: dict[str, Run] = {}

    @property
    def job_ids(self) -> list[str]:
        """The ids of the jobs in flight, sorted; of several attempts, that of the first."""
        return sorted(run.job.id for run in self._latest.values())

    @property
    def conserved(self) -> bool:
        """Whether no slot has leaked: each busy one runs a job."""
        return self._slots.busy == len(self.tasks) and self._slots.conserved

    def of(self, key: str) -> Run | None:
        """Return the run of a job, the later one if there are two."""
        return self._latest.get(key)

    def start(
        self,
        slots: Slots,
        job: ClaimedJob,
        work: Coroutine[Any, Any, None],
        lease: Lease | None = None,
        *,
        after: Run | None = None,
    ) -> None:
        """Run `work` on a reserved slot of `slots`, freed when it ends; first wait for the run `after` to end."""

        async def on_a_slot() -> None:
            try:
                if after is not None:
                    await asyncio.wait({after.task})
                await work
            finally:
                work.close()  # where the wait was cancelled
                self.tasks.discard(task)
                if (latest := self._latest.get(job.key)) is not None and latest.task is task:
                    del self._latest[job.key]
                slots.release()

        slots.occupy()
        task = asyncio.create_task(on_a_slot(), name=f"job {job.id}")
        self.tasks.add(task)
        self._latest[job.key] = Run(task, job, lease)
