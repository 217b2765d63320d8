"""Very many leases, such as those of parked jobs, are all renewed."""

import asyncio
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.lease import Grant, Lease
from rochallor_worker.execution.renewal import MAX_IN_FLIGHT, Renewals
from unit.worker.engines import FaultyEngine, loop_time

pytestmark = pytest.mark.looptime


class Engine(FaultyEngine):
    """Renews each lease, in so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.order: list[str] = []
        self.now = self.most = 0

    async def extend_lease(self, job_id: str, *_: Any) -> datetime:
        self.order.append(job_id)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds)
        self.now -= 1
        return datetime.now(UTC) + timedelta(seconds=30 + loop_time())


def lease_of(number: int, begun: float) -> Lease:
    job = ClaimedJob(id=str(number), instance_id="i", job_type="a", step_execution_id=f"s{number}", retries_remaining=0)
    return Lease(job, begun, Grant(30, 30))


def renewals_of(engine: Engine) -> Renewals:
    return Renewals(engine, "w", observer=lambda _: None, clock=loop_time, on_overrun=lambda _: None)


async def test_no_lease_of_thousands_ends() -> None:
    engine = Engine(0.02)
    renewals = renewals_of(engine)
    leases = [lease_of(number, loop_time()) for number in range(3000)]
    with ExitStack() as stack:
        for lease in leases:
            lease.handler_ended = True
            stack.enter_context(renewals.renewing(lease))
        task = asyncio.create_task(renewals.run())
        for _ in range(100):
            await asyncio.sleep(1)
            assert all(loop_time() < lease.deadline for lease in leases)
        task.cancel()
    assert engine.most == MAX_IN_FLIGHT


async def test_runs_come_first() -> None:
    engine = Engine(1.0)
    renewals = renewals_of(engine)
    leases = [lease_of(number, loop_time()) for number in range(100)]
    for lease in leases[:-1]:
        lease.handler_ended = True
    with ExitStack() as stack:
        for lease in leases:
            stack.enter_context(renewals.renewing(lease))
        task = asyncio.create_task(renewals.run())
        await asyncio.sleep(10.5)
        task.cancel()
    assert engine.order[0] == "99"
    await asyncio.sleep(5)
    assert len(engine.order) == MAX_IN_FLIGHT, "nothing follows the end"
