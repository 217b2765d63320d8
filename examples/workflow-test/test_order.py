"""Tests of a whole workflow: two tasks in parallel, a decision, and a person who has three days. Run with: pytest"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rochallor_worker import InstanceStatus, Job, Registry
from rochallor_worker.testing import WorkerHarness

registry = Registry()


@registry.handler("charge")
async def charge(job: Job) -> dict[str, Any]:
    return {"total": sum(job.variables["prices"])}


@registry.handler("reserve")
async def reserve(job: Job) -> dict[str, Any]:
    return {"reserved": len(job.variables["prices"])}


@registry.handler("ship")
async def ship(job: Job) -> dict[str, Any]:
    return {"shipped": True}


@registry.handler("refund")
async def refund(job: Job) -> dict[str, Any]:
    return {"refunded": job.variables["total"]}


def task(name: str, following: str) -> dict[str, Any]:
    return {"id": name, "name": name, "type": "SERVICE_TASK", "jobType": name, "nextStep": following}


# a timer counts hours, minutes and seconds only: three days are 72 hours
THREE_DAYS = {"type": "TIMER", "duration": "PT72H", "interrupting": True, "targetStepId": "refund"}
ORDER = {
    "id": "order",
    "name": "Order",
    "steps": [
        {
            "id": "both",
            "name": "Both",
            "type": "PARALLEL_GATEWAY",
            "parallelNextSteps": ["charge", "reserve"],
            "joinStep": "joined",
        },
        task("charge", "joined"),
        task("reserve", "joined"),
        {"id": "joined", "name": "Joined", "type": "JOIN_GATEWAY", "nextStep": "large?"},
        {
            "id": "large?",
            "name": "Large?",
            "type": "DECISION",
            "conditionalNextSteps": {"total > 1000": "approve", "total <= 1000": "ship"},
        },
        {"id": "approve", "name": "Approve", "type": "USER_TASK", "nextStep": "ship", "boundaryEvents": [THREE_DAYS]},
        task("ship", "end"),
        task("refund", "end"),
        {"id": "end", "name": "End", "type": "END"},
    ],
}


@asynccontextmanager
async def ordered(*prices: int) -> AsyncIterator[tuple[WorkerHarness, str]]:
    """A worker, and an instance of the workflow."""
    worker = WorkerHarness(registry)
    async with worker.working() as engine:
        await engine.upload_definition(ORDER)
        yield worker, (await engine.start_instance("order", {"prices": list(prices)})).id


def test_a_small_order_is_shipped() -> None:
    async def run() -> None:
        async with ordered(20, 30) as (worker, instance_id):
            instance = await worker.finish(instance_id)
            assert instance.status is InstanceStatus.COMPLETED
            assert instance.variables == {"prices": [20, 30], "total": 50, "reserved": 2, "shipped": True}

    asyncio.run(run())


def test_a_large_order_is_shipped_once_it_is_approved() -> None:
    async def run() -> None:
        async with ordered(900, 300) as (worker, instance_id):
            await worker.reach(instance_id, "approve")
            await worker.engine.complete_user_task(instance_id, "approve", variables={"by": "Ada"})
            instance = await worker.finish(instance_id)
            expected = {"prices": [900, 300], "total": 1200, "reserved": 2, "by": "Ada", "shipped": True}
            assert instance.variables == expected

    asyncio.run(run())


def test_a_large_order_that_nobody_approves_for_three_days_is_refunded() -> None:
    async def run() -> None:
        async with ordered(900, 300) as (worker, instance_id):
            await worker.reach(instance_id, "approve")
            worker.engine.advance(72 * 3600)
            instance = await worker.finish(instance_id)
            assert instance.variables == {"prices": [900, 300], "total": 1200, "reserved": 2, "refunded": 1200}

    asyncio.run(run())
