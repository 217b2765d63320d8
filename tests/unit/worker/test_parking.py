"""Parked jobs on the virtual clock: when they go on, when they are given up, and that no slot is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.gates import Gate, Permit
from rochallor_worker.execution.in_flight import InFlight, Place
from rochallor_worker.execution.lease import Grant, Lease
from rochallor_worker.execution.parking import TICK, Parking
from rochallor_worker.execution.slots import AllSlots, Slots
from rochallor_worker.handlers.breaker import Breaker
from rochallor_worker.handlers.limits import NO_LIMITS, Limits
from rochallor_worker.source.base import Delivery
from unit.worker.engines import gates_of, loop_time

pytestmark = pytest.mark.looptime

Step = tuple[str, str, float]
"""What happened to which job, and when."""


def job_of(name: str, job_type: str = "a") -> ClaimedJob:
    return ClaimedJob(id=name, job_type=job_type, instance_id=name, step_execution_id=name, retries_remaining=1)


class Lot:
    """Jobs on slots that park themselves once, and then run for `seconds`."""

    def __init__(self, slots: int, limits: Limits = NO_LIMITS) -> None:
        self.slots = Slots(slots, loop_time)
        self.all = AllSlots([self.slots])
        self.in_flight = InFlight(self.all, loop_time)
        self.gates = gates_of("a", "b", limits=limits)
        self.parking = Parking(loop_time)
        self.steps: list[Step] = []
        self.seconds = 1.0

    @property
    def gate(self) -> Gate:
        return self.gates["a"]

    def lease(self, job: ClaimedJob, length: float) -> Lease:
        return Lease(job, loop_time(), Grant(length, length))

    async def park(
        self,
        name: str,
        after: float,
        *,
        job_type: str = "a",
        lease: float | None = None,
        leaving: asyncio.Event | None = None,
    ) -> Delivery:
        """Start a job on a slot; it parks itself at once."""
        job = job_of(name, job_type)
        held = None if lease is None else self.lease(job, lease)
        delivery = Delivery(job, loop_time(), held, lambda _: None, leaving=leaving)
        gate = self.gates[job_type]

        async def work(place: Place) -> None:
            permit = await self.parking.park(delivery, gate, place, after)
            assert place.held == (permit is not None)
            assert not place.waits
            if permit is None:
                self._note("given up", name)
                return
            with permit:
                assert permit.begin()
                self._note("runs", name)
                await asyncio.sleep(self.seconds)
                permit.succeeded()

        assert await self.slots.reserve(1) == 1
        self.in_flight.start(self.slots, job, work)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return delivery

    async def occupy(self, count: int) -> None:
        assert await self.slots.reserve(count) == count
        for _ in range(count):
            self.slots.occupy()

    def _note(self, what: str, name: str) -> None:
        assert self.all.conserved
        self.steps.append((what, name, round(loop_time(), 3)))

    def check(self, parked: int = 0) -> None:
        assert self.in_flight.conserved
        assert self.gates["a"].parked + self.gates["b"].parked == parked
        if not parked:
            assert (self.slots.busy, self.slots.reserved, self.slots.owed, self.slots.free) == (0, 0, 0, self.all.total)
            assert all((gate.due, gate._running, gate._waiting) == (0, 0, 0) for gate in self.gates.values())
            assert self.parking._jobs == {}


@asynccontextmanager
async def lot(slots: int = 4, limits: Limits = NO_LIMITS) -> AsyncIterator[Lot]:
    made = Lot(slots, limits)
    running = asyncio.create_task(made.parking.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait({running, *made.in_flight.tasks})
        assert running.cancelled()
    made.check()


async def test_a_parked_job_has_no_slot_and_runs_again_on_time() -> None:
    async with lot(1) as here:
        await here.park("x", 60)
        here.check(parked=1)
        assert (here.slots.free, here.gate.due) == (1, 0)
        await asyncio.sleep(59.9)
        assert here.steps == []
        await asyncio.sleep(0.2)
        assert here.steps == [("runs", "x", 60)]
        assert (here.slots.busy, here.gate.parked) == (1, 0)
        await asyncio.sleep(2)


async def test_those_that_are_due_go_on_in_the_order_in_which_they_came() -> None:
    async with lot(3) as here:
        for name, after in (("late", 5), ("first", 2), ("second", 2)):
            await here.park(name, after)
        await here.occupy(2)  # so one slot is left
        await asyncio.sleep(8)
        assert [name for _, name, _ in here.steps] == ["first", "second", "late"]
        assert here.steps[0][2] == 2
        assert here.steps[1][2] == pytest.approx(3, abs=2 * TICK)
        for _ in range(2):
            here.slots.release()


async def test_a_job_waits_for_a_slot_and_has_the_first_that_is_free() -> None:
    async with lot(2) as here:
        await here.park("x", 1)
        await here.occupy(2)
        asking = asyncio.create_task(here.slots.reserve(2))
        await asyncio.sleep(3)
        assert here.steps == []
        assert here.slots.owed == 1
        here.slots.release()
        await asyncio.sleep(2 * TICK)
        assert [name for _, name, _ in here.steps] == ["x"]
        assert not asking.done()
        here.slots.release()
        assert await asking == 1
        here.slots.give_back(1)


async def test_a_job_waits_for_its_gate_though_slots_are_free() -> None:
    async with lot(4, Limits(parallelism=1)) as here:
        busy = here.gate.enter()
        assert busy.begin()
        for name in "xy":
            await here.park(name, 1)
        await asyncio.sleep(3)
        assert here.steps == []
        assert (here.slots.owed, here.slots.free, here.gate.due) == (0, 4, 2)
        with busy:
            pass
        await asyncio.sleep(2 * TICK)
        assert [name for _, name, _ in here.steps] == ["x"]
        await asyncio.sleep(1 + 2 * TICK)
        assert [name for _, name, _ in here.steps] == ["x", "y"]
        await asyncio.sleep(2)


async def test_a_type_that_is_held_back_takes_no_slots_from_others() -> None:
    """More jobs are due than their gate has room for: no more slots are kept for them than can begin."""
    async with lot(2, Limits(parallelism=1)) as here:
        for name in "uvwxyz":
            await here.park(name, 1)
        await here.park("other", 1, job_type="b")
        await here.occupy(2)
        await asyncio.sleep(2)
        assert here.slots.owed == 2  # one of each type
        here.slots.release()
        await asyncio.sleep(2 * TICK)
        assert [name for _, name, _ in here.steps] == ["u"]
        assert here.slots.owed == 1
        here.slots.release()
        await asyncio.sleep(2 * TICK)
        assert [name for _, name, _ in here.steps] == ["u", "other"]
        assert here.slots.owed == 0
        await asyncio.sleep(8)
        assert len(here.steps) == 7


async def test_a_gate_that_closes_again_gives_up_its_claim_on_a_slot() -> None:
    async with lot(1, Limits(breaker=Breaker(failures=1))) as here:
        await here.park("x", 1)
        await here.occupy(1)
        failing = here.gate.enter()
        assert failing.begin()
        await asyncio.sleep(2)
        assert here.slots.owed == 1
        with failing:
            failing.failed("no")
        await asyncio.sleep(2 * TICK)
        assert here.slots.owed == 0
        here.slots.release()
        assert await here.slots.reserve(1) == 1
        here.slots.give_back(1)
        await asyncio.sleep(3)
        assert [name for _, name, _ in here.steps] == ["x"]  # the probe


async def test_while_the_breaker_is_open_one_goes_on_at_a_time() -> None:
    async with lot(4, Limits(breaker=Breaker(failures=1))) as here:
        failing = here.gate.enter()
        assert failing.begin()
        with failing:
            failing.failed("no")
        for name in "xyz":
            await here.park(name, 0)
        await asyncio.sleep(0.9)
        assert here.steps == []
        await asyncio.sleep(0.2)
        assert [name for _, name, _ in here.steps] == ["x"]
        await asyncio.sleep(1)  # it succeeds
        assert [name for _, name, _ in here.steps] == ["x", "y", "z"]
        await asyncio.sleep(2)


async def test_new_jobs_do_not_overtake_those_that_are_due() -> None:
    """A flood would take each token as soon as there is one."""
    async with lot(4, Limits(per_second=5)) as here:
        for name in "xy":
            await here.park(name, 1)
        here.seconds = 0.0
        taken: list[float] = []
        while loop_time() < 3:
            if here.gate.room > 0:
                with here.gate.enter():
                    taken.append(loop_time())
            await asyncio.sleep(0.005)
        assert [name for _, name, _ in here.steps] == ["x", "y"]
        assert here.steps[-1][2] <= 1 + 2 / 5 + 2 * TICK
        assert len(taken) >= 10


async def test_a_stop_gives_all_up_at_once_also_one_that_parks_later() -> None:
    async with lot() as here:
        await here.park("waits", 60)
        await here.park("due", 0.5, job_type="b")
        await here.occupy(4)
        await asyncio.sleep(1)
        here.parking.close()
        await asyncio.sleep(0.001)
        assert here.steps == [("given up", "waits", 1), ("given up", "due", 1)]
        here.slots.release()
        await here.park("later", 0)
        await asyncio.sleep(0.001)
        assert [what for what, _, _ in here.steps] == ["given up"] * 3
        for _ in range(3):
            here.slots.release()


async def test_a_lost_lease_gives_the_job_up_at_once() -> None:
    async with lot() as here:
        lost = await here.park("x", 60, lease=1000)
        await here.park("y", 60, lease=1000)
        await asyncio.sleep(5)
        assert lost.lease is not None
        lost.lease.lose()
        await asyncio.sleep(0.001)
        assert here.steps == [("given up", "x", 5)]
        await asyncio.sleep(60)


@pytest.mark.parametrize("waits_for", ["time", "slot", "gate"])
async def test_a_lease_that_is_not_renewed_gives_the_job_up_before_it_ends(waits_for: str) -> None:
    async with lot(1, Limits(parallelism=1)) as here:
        await here.park("x", 60 if waits_for == "time" else 1, lease=30)
        permit: Permit | None = None
        if waits_for == "gate":
            permit = here.gate.enter()
        if waits_for == "slot":
            await here.occupy(1)
        await asyncio.sleep(40)
        assert here.steps == [("given up", "x", 29)]
        if permit is not None:
            with permit:
                pass
        if waits_for == "slot":
            here.slots.release()


async def test_a_renewed_lease_keeps_the_job() -> None:
    async with lot() as here:
        delivery = await here.park("x", 100, lease=30)
        for number in range(9):
            await asyncio.sleep(10)
            assert delivery.lease is not None
            assert delivery.lease.renewed(loop_time(), datetime.fromtimestamp(1e9 + number, UTC))
        await asyncio.sleep(15)
        assert here.steps == [("runs", "x", 100)]


async def test_a_partition_that_leaves_gives_its_jobs_up_at_once() -> None:
    async with lot() as here:
        leaving = asyncio.Event()
        await here.park("x", 60, leaving=leaving)
        await here.park("y", 60, leaving=asyncio.Event())
        await asyncio.sleep(5)
        leaving.set()
        await asyncio.sleep(0.001)
        assert here.steps == [("given up", "x", 5)]
        here.check(parked=1)
        await asyncio.sleep(60)
        assert here.steps[1:] == [("runs", "y", 60)]
        leaving.set()
    assert not any(task.get_name() == "leaving" for task in asyncio.all_tasks())


@pytest.mark.parametrize("moment", [0, 1, 2, 3])
async def test_a_cancelled_job_leaves_nothing_behind_not_even_between_its_permit_and_its_run(moment: int) -> None:
    async with lot(1) as here:
        await here.park("x", 0 if moment else 60)
        for _ in range(moment):
            await asyncio.sleep(0)
        [task] = here.in_flight.tasks
        task.cancel()
        await asyncio.wait({task})
        here.check()


async def test_many_parked_jobs_all_run_in_the_end() -> None:
    async with lot(8, Limits(parallelism=5)) as here:
        here.seconds = 0.01
        for number in range(200):
            await here.park(str(number), 1)
        await asyncio.sleep(60)
        assert [name for _, name, _ in here.steps] == [str(number) for number in range(200)]
