"""Workflow instances for benchmarks against the dev engine."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from rochallor_worker import InstanceStatus

if TYPE_CHECKING:
    from rochallor_worker import RestClient


async def upload(client: RestClient, *job_types: str) -> None:
    """Upload a definition `bench` with one step per job type."""
    steps: list[dict[str, object]] = [
        {"id": f"s{n}", "name": kind, "type": "SERVICE_TASK", "jobType": kind, "nextStep": f"s{n + 1}"}
        for n, kind in enumerate(job_types)
    ]
    end = {"id": f"s{len(job_types)}", "name": "end", "type": "END"}
    await client.upload_definition({"id": "bench", "name": "bench", "steps": [*steps, end]})


async def start(client: RestClient, count: int) -> None:
    """Start instances, sixteen at a time."""

    async def some(share: int) -> None:
        for _ in range(share):
            await client.start_instance("bench")

    await asyncio.gather(*(some(count // 16 + (n < count % 16)) for n in range(16)))


async def completed(client: RestClient, count: int) -> int:
    """Wait until at least `count` instances are COMPLETED; return how many are."""
    while (done := (await client.list_instances(status=InstanceStatus.COMPLETED, page_size=1)).total) < count:
        await asyncio.sleep(0.05)
    return done


async def chain(client: RestClient, look_every: float) -> float:
    """Run one instance, and look every so many seconds whether it has ended; return the seconds that it took."""
    began = time.perf_counter()
    instance = await client.start_instance("bench")
    while (await client.get_instance(instance.id)).status is InstanceStatus.ACTIVE:
        await asyncio.sleep(look_every)
    return time.perf_counter() - began
