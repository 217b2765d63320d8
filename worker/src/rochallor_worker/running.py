"""The jobs that run: each is a task that holds a slot until it ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from rochallor_worker.slots import Slots


class Running:
    """Tasks on slots, by job. A job can have two for a moment: one that ends, and one that waits for that."""

    def __init__(self, slots: Slots) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._slots = slots
        self._latest: dict[str, asyncio.Task[None]] = {}

    @property
    def job_ids(self) -> list[str]:
        """The jobs that run, sorted."""
        return sorted(self._latest)

    @property
    def conserved(self) -> bool:
        """Whether no slot has leaked: each busy one runs a job."""
        return self._slots.busy == len(self.tasks) and self._slots.free >= 0

    def of(self, job_id: str) -> asyncio.Task[None] | None:
        """Return the task of a job that runs, the later one if there are two."""
        return self._latest.get(job_id)

    def start(self, job_id: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` on a reserved slot, which is freed when it ends."""

        async def on_a_slot() -> None:
            try:
                await work
            finally:
                self.tasks.discard(task)
                if self._latest.get(job_id) is task:
                    del self._latest[job_id]
                self._slots.release()

        self._slots.occupy()
        task = asyncio.create_task(on_a_slot(), name=f"job {job_id}")
        self.tasks.add(task)
        self._latest[job_id] = task
