import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.execution.slots import Slots


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_reserve_takes_all_free_slots_up_to_the_limit() -> None:
    slots = Slots(5, Clock())
    assert await slots.reserve(3) == 3
    assert await slots.reserve(100) == 2
    assert slots.free == 0


async def test_reserve_waits_for_a_free_slot() -> None:
    slots = Slots(1, Clock())
    await slots.reserve(1)
    slots.occupy()
    waiting = asyncio.create_task(slots.reserve(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.release()
    assert await waiting == 1


async def test_while_slots_are_reserved_a_quarter_must_be_free() -> None:
    slots = Slots(8, Clock())
    assert await slots.reserve(7) == 7
    waiting = asyncio.create_task(slots.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.give_back(1)
    await waiting
    assert await slots.reserve(8) == 2


async def test_close_ends_a_waiting_reserve_without_a_slot() -> None:
    slots = Slots(1, Clock())
    await slots.reserve(1)
    waiting = asyncio.create_task(slots.reserve(1))
    await asyncio.sleep(0)
    slots.close()
    assert await waiting == 0
    slots.give_back(1)
    assert await slots.reserve(1) == 0


async def test_busy_seconds_is_the_integral_of_busy_slots() -> None:
    clock = Clock()
    slots = Slots(4, clock)
    await slots.reserve(3)
    slots.occupy()
    clock.now = 2
    slots.occupy()
    clock.now = 5
    slots.release()
    clock.now = 6
    assert slots.busy_seconds == pytest.approx(1 * 2 + 2 * 3 + 1 * 1)


@given(st.lists(st.sampled_from(["reserve", "occupy", "give_back", "release"]), max_size=60), st.integers(1, 8))
async def test_slots_are_conserved_whatever_happens(steps: list[str], total: int) -> None:
    slots = Slots(total, Clock())
    for step in steps:
        if step == "reserve" and slots.free:
            await slots.reserve(2)
        elif step == "occupy" and slots.reserved:
            slots.occupy()
        elif step == "give_back" and slots.reserved:
            slots.give_back(1)
        elif step == "release" and slots.busy:
            slots.release()
        assert slots.free + slots.reserved + slots.busy == total
        assert min(slots.free, slots.reserved, slots.busy) >= 0


async def test_a_job_that_had_a_slot_before_may_take_it_from_one_that_waits_to_reserve() -> None:
    slots = Slots(1, lambda: 0.0)
    assert await slots.reserve(1) == 1
    slots.occupy()
    reserving = asyncio.create_task(slots.reserve(1))
    await asyncio.sleep(0)
    slots.release()
    assert slots.regain()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not reserving.done()
    slots.owe(1)
    slots.release()
    await asyncio.sleep(0)
    assert not reserving.done(), "the slot is owed to another job"
    slots.owe(-1)
    assert await reserving == 1


async def test_jobs_that_wait_for_a_slot_take_turns_with_those_that_are_asked_for() -> None:
    slots, got = Slots(2, lambda: 0.0), []
    assert await slots.reserve(2) == 2
    slots.occupy()
    slots.occupy()
    slots.owe(100)
    for _ in range(4):
        reserving = asyncio.create_task(slots.reserve(2))
        slots.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if reserving.done():
            got.append("asked for")
            assert reserving.result() == 1
            slots.occupy()
        else:
            reserving.cancel()
            got.append("waited")
            assert slots.regain()
    assert got == ["waited", "asked for"] * 2
