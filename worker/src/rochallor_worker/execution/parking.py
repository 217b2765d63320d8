"""Jobs that are postponed: parked without a slot, their leases renewed, until they may run again.

A parked job is given up when the worker stops, when its lease can no longer be kept, or when its partition goes to
another worker. It is then redelivered, and no retry is spent: nothing is reported for it.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from rochallor_worker.execution.gates import ROUNDING, Gate, Permit
from rochallor_worker.execution.in_flight import Place
from rochallor_worker.execution.lease import TIME_TO_RUN
from rochallor_worker.source.base import Delivery

TICK = 0.05
"""Seconds between two looks while a job is due and waits for its gate or a slot."""


@dataclass(eq=False, slots=True)
class _Parked:
    delivery: Delivery
    gate: Gate
    place: Place
    at: float
    """When it may run again."""
    due: bool = False
    """Whether that time has come."""
    permit: asyncio.Future[Permit | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def kept_until(self) -> float:
        """Until when the job is certainly ours, with time for a run where its lease cannot be renewed."""
        lease = self.delivery.lease
        if lease is None:
            return math.inf
        if lease.lost:
            return -math.inf
        return lease.deadline if lease.renewable else lease.end - TIME_TO_RUN * lease.grant.length


class Parking:
    """The parked jobs of a worker, in the order in which they came. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._jobs: dict[_Parked, None] = {}
        self._changed = asyncio.Event()
        self._closed = False

    async def park(self, delivery: Delivery, gate: Gate, place: Place, after: float) -> Permit | None:
        """Give the slot back, and wait `after` seconds and until the gate and a slot are free for the job.

        Returns the permit for its next run, on a slot again; None if the job is given up.
        """
        job = _Parked(delivery, gate, place, self._clock() + after)
        place.vacate()
        self._jobs[job] = None
        if delivery.lease is not None:
            delivery.lease.changed = self.wake  # until the next run begins, which has its own use for it
        gate.parked += 1
        self._changed.set()
        left = None if delivery.leaving is None else asyncio.create_task(delivery.leaving.wait(), name="leaving")
        try:
            await asyncio.wait({job.permit, *([left] if left else ())}, return_when=asyncio.FIRST_COMPLETED)
            return job.permit.result() if job.permit.done() else None
        except asyncio.CancelledError:
            if job.permit.done() and (unused := job.permit.result()) is not None:
                with unused:
                    pass
            raise
        finally:
            if left is not None:
                left.cancel()
            self._jobs.pop(job, None)
            place.waits = False
            gate.parked -= 1
            gate.due -= job.due
            gate.changed()

    def close(self) -> None:
        """Give all jobs up."""
        self._closed = True
        self._changed.set()

    def wake(self) -> None:
        """Look again: something may have become free, or a lease has ended."""
        self._changed.set()

    async def run(self) -> None:
        """Let jobs go on or give them up when it is time, until cancelled."""
        while True:
            self._changed.clear()
            at = self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if at == math.inf else max(0.0, at - self._clock())):
                    await self._changed.wait()

    def _look(self) -> float:
        """Decide what can be decided now; return when to look again."""
        now, next_at = self._clock() + ROUNDING, math.inf
        free: dict[Gate, int] = {}
        for job in list(self._jobs):
            if self._closed or now >= job.kept_until:
                self._decide(job, None)
            elif now < job.at:
                next_at = min(next_at, job.at, job.kept_until)
            else:
                job.gate.due += not job.due
                job.due = True
                left = free.setdefault(job.gate, job.gate.room_for_parked)
                free[job.gate] = left - 1
                job.place.waits = left > 0  # jobs of a type without room keep no slot from other types
                if left > 0 and job.place.regain():
                    self._decide(job, job.gate.enter(parked=True))
                else:
                    next_at = min(next_at, job.kept_until, now + TICK)
        return next_at

    def _decide(self, job: _Parked, permit: Permit | None) -> None:
        del self._jobs[job]
        if not job.permit.done():
            job.permit.set_result(permit)
