"""How long a job has waited, by whichever clocks there are."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker import Job, Postpone, Registry
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.events import Started
from rochallor_worker.execution.wait import LONGEST, waited
from unit.worker.engines import FaultyEngine, Fleet
from unit.worker.running import running, start
from waiting import until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=14))]))


def job(created_at: datetime | None, locked_at: datetime | None = None) -> ClaimedJob:
    return ClaimedJob(id="j", instance_id="i", job_type="a", created_at=created_at, locked_at=locked_at)


def test_over_rest_this_machines_clock_does_not_count() -> None:
    ahead = NOW + timedelta(hours=3)
    assert waited(job(ahead, ahead + timedelta(seconds=5)), 0.5, lambda: NOW) == 5.5


def test_else_it_does() -> None:
    assert waited(job(NOW - timedelta(hours=3)), 0.5, lambda: NOW) == 3 * 3600


def test_clocks_that_differ_make_no_negative_wait() -> None:
    assert waited(job(NOW + timedelta(seconds=2)), 0.5, lambda: NOW) == 0
    assert waited(job(NOW, NOW - timedelta(seconds=2)), 0.5, lambda: NOW) == 0


@pytest.mark.parametrize("locked_at", [None, NOW])
def test_without_a_time_that_makes_sense_it_is_not_known(locked_at: datetime | None) -> None:
    assert waited(job(None, locked_at), 0.5, lambda: NOW) is None
    assert waited(job(datetime.min.replace(tzinfo=UTC), locked_at), 0.5, lambda: NOW) is None


@pytest.mark.parametrize("year", [1, 9999])
def test_an_absurd_time_is_no_wait_of_zero(year: int) -> None:
    then = datetime(year, 1, 1, tzinfo=UTC)
    assert (
        waited(job(then), 0.5, lambda: NOW)
        is waited(job(then, NOW), 0.5, lambda: NOW)
        is waited(job(NOW, then), 0.5, lambda: NOW)
        is None
    )


@given(st.none() | MOMENTS, st.none() | MOMENTS, st.floats(0, 1e6), MOMENTS)
def test_a_wait_is_never_negative_nor_absurd(
    created_at: datetime | None, locked_at: datetime | None, since_claim: float, now: datetime
) -> None:
    found = waited(job(created_at, locked_at), since_claim, lambda: now)
    assert found is None or 0 <= found <= LONGEST


async def waits_of_two_runs(fleet: Fleet, first: Exception) -> list[float | None]:
    """The waits of a job that begins a second after its creation, raises `first` after three, and runs again."""
    engine, registry, runs = FaultyEngine(fleet=fleet), Registry(), 0

    @registry.handler("a")
    async def a(_: Job) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            await asyncio.sleep(3)
            raise first

    await start(engine, "a", retries=1)
    await asyncio.sleep(1)
    async with running(engine, registry) as (_, events):
        await until(lambda: sum(isinstance(event, Started) for event in events) == 2)
    return [event.waited for event in events if isinstance(event, Started)]


@pytest.mark.looptime
@pytest.mark.parametrize(("fleet", "second"), [("A", 4), ("C", 0), ("D", 0)])
async def test_a_retry_is_a_new_job_except_on_generation_a(fleet: Fleet, second: float) -> None:
    assert await waits_of_two_runs(fleet, ValueError("boom")) == pytest.approx([1, second], abs=0.5)


@pytest.mark.looptime
async def test_a_job_that_was_postponed_is_not_counted_again() -> None:
    assert await waits_of_two_runs("D", Postpone(after=2)) == [pytest.approx(1, abs=0.5), None]
