"""When a run is interrupted, and with which message, on a virtual clock."""

import asyncio

import pytest

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.lease import Grant, Lease
from rochallor_worker.execution.limit import Limit
from unit.worker.engines import loop_time

pytestmark = pytest.mark.looptime

LENGTH = 10.0
DEADLINE = LENGTH - 1


def lease(*, renewable: bool = True) -> Lease:
    made = Lease(ClaimedJob(id="j", instance_id="i", job_type="a"), loop_time(), Grant(LENGTH, LENGTH))
    made.renewable = renewable
    return made


def limit(timeout: float | None, of: Lease | None = None, reached: list[str] | None = None) -> Limit:
    return Limit(timeout, of, clock=loop_time, on_reached=lambda: (reached if reached is not None else []).append("x"))


async def run(under: Limit, seconds: float) -> None:
    with under.watched() as scope:
        async with scope:
            await asyncio.sleep(seconds)


@pytest.mark.parametrize(("timeout", "leased", "at"), [(5, True, 5), (20, True, 9), (None, True, 9), (0.5, False, 0.5)])
async def test_a_run_is_interrupted_at_its_timeout_or_before_its_lease_ends(
    timeout: float | None, leased: bool, at: float
) -> None:
    await asyncio.sleep(3)
    reached: list[str] = []
    under = limit(timeout, lease() if leased else None, reached)
    with pytest.raises(TimeoutError):
        await run(under, 100)
    assert loop_time() == 3 + at
    assert (under.at, under.reached, reached) == (3 + at, True, ["x"])


async def test_without_timeout_and_lease_a_run_is_never_interrupted() -> None:
    under = limit(None)
    await run(under, 100_000)
    assert (under.at, under.reached) == (float("inf"), False)


async def test_before_a_run_no_limit_is_reached() -> None:
    assert not limit(0).reached


async def test_the_limit_moves_with_the_lease() -> None:
    held = lease()
    running = asyncio.create_task(run(limit(None, held), 100))
    await asyncio.sleep(5)
    held.adopt(lease())
    with pytest.raises(TimeoutError):
        await running
    assert loop_time() == 5 + DEADLINE


async def test_a_lost_lease_interrupts_at_once_and_counts_as_no_timeout() -> None:
    reached: list[str] = []
    held = lease()
    under = limit(None, held, reached)
    running = asyncio.create_task(run(under, 100))
    await asyncio.sleep(5)
    held.lose()
    with pytest.raises(TimeoutError):
        await running
    assert loop_time() == 5
    assert (under.lost, under.reached, reached) == (True, True, [])


@pytest.mark.parametrize(
    ("timeout", "began_after", "cut_short"),
    [(None, 3, False), (None, 4, True), (4, 4, False), (5, 4, False), (6, 4, True)],
)
async def test_a_run_that_the_end_of_its_lease_interrupts_is_cut_short_if_it_never_had_two_thirds_of_one(
    timeout: float | None, began_after: float, *, cut_short: bool
) -> None:
    held = lease()
    await asyncio.sleep(began_after)
    under = limit(timeout, held)
    assert not under.cut_short
    with pytest.raises(TimeoutError):
        await run(under, 100)
    assert under.cut_short is cut_short


async def test_without_a_lease_no_run_is_cut_short() -> None:
    under = limit(1)
    with pytest.raises(TimeoutError):
        await run(under, 100)
    assert not under.cut_short


async def test_a_run_whose_lease_goes_on_is_not_cut_short() -> None:
    held = lease()
    await asyncio.sleep(5)
    under = limit(None, held)
    await asyncio.sleep(4)
    held.adopt(lease())
    assert not under.cut_short


async def test_a_lease_may_change_while_the_run_is_being_interrupted() -> None:
    held = lease()

    async def run_until_interrupted() -> None:
        with limit(1, held).watched() as scope:
            async with scope:
                try:
                    await asyncio.sleep(100)
                finally:
                    held.lose()

    with pytest.raises(TimeoutError):
        await run_until_interrupted()


@pytest.mark.parametrize(
    ("timeout", "leased", "renewable", "message"),
    [
        (5, True, True, "handler timed out after 5 s"),
        (5, False, True, "handler timed out after 5 s"),
        (DEADLINE, True, True, "handler timed out after 9 s"),
        (20, True, True, "handler timed out after 9 s, at the end of its lease, which was not renewed in time"),
        (None, True, True, "handler timed out after 9 s, at the end of its lease, which was not renewed in time"),
        (
            None,
            True,
            False,
            "handler timed out after 9 s, at the end of its lease: this engine cannot renew leases; longer runs need "
            "one that can, or transport kafka",
        ),
    ],
)
async def test_the_message_names_what_limited_the_run(
    timeout: float | None, leased: bool, renewable: bool, message: str
) -> None:
    assert limit(timeout, lease(renewable=renewable) if leased else None).message == message
