"""What a worker promises on any engine, as far as it can be tested without control over the engine.

Each promise runs a few jobs, returns what it observed, and raises `Broken` if it was not kept.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from conformance.losing import late, losing
from conformance.site import Broken, Site
from rochallor_worker.engine.client import InstanceStatus

if TYPE_CHECKING:
    from rochallor_worker import Job

LATENCY_SECONDS = 0.5
"""The default poll interval: a step that waits for the next poll takes about this long."""
JOBS = 100


async def three_steps(site: Site) -> str:
    """Instances of three steps, one after another, do not wait for polls."""

    async def handle(_: Job) -> None:
        return

    waits = []
    async with site.working(handle, tasks=3):
        for _ in range(7):
            begun = time.monotonic()
            [instance] = await site.start(tasks=3)
            await site.completed(instance)
            waits.append(time.monotonic() - begun)
    median = statistics.median(waits)
    if median > LATENCY_SECONDS:
        raise Broken(f"{median * 1000:.0f} ms from start to end (median of {len(waits)})")
    return f"{median * 1000:.0f} ms from start to end (median of {len(waits)})"


async def short_jobs(site: Site) -> str:
    """Short jobs run once each, and are completed."""

    async def handle(_: Job) -> None:
        await asyncio.sleep(0.02)

    instances = await site.start(JOBS)
    async with site.working(handle):
        await asyncio.gather(*(site.completed(instance) for instance in instances))
    repeated = [key for key, runs in Counter(job.key for job in site.runs).items() if runs > 1]
    if repeated:
        raise Broken(f"{len(repeated)} of {JOBS} jobs ran more than once")
    site.ran(JOBS)
    return f"{JOBS} jobs, {len(site.runs)} runs"


async def retries(site: Site) -> str:
    """The runs of a job that fails are counted by its key, whatever its ids."""

    async def handle(_: Job) -> None:
        if len(site.runs) < 3:
            raise ValueError("not yet")

    [instance] = await site.start(retries=2)
    async with site.working(handle):
        await site.completed(instance)
    attempts, keys = [job.attempt for job in site.runs], {job.key for job in site.runs}
    if attempts != [1, 2, 3] or len(keys) > 1:
        raise Broken(f"attempts {attempts} of {len(keys)} keys")
    return f"attempts 1, 2, 3 of one key, ids: {len({job.id for job in site.runs})}"


async def lost_answers(site: Site) -> str:
    """A Complete that is lost, or whose answer is lost, is sent again: the job is neither failed nor run again."""

    async def handle(_: Job) -> dict[str, bool]:
        return {"done": True}

    [instance] = await site.start()
    async with site.working(handle, engine=losing(site.engine)):
        await site.completed(instance)
    site.ran(1)
    return "one lost on its way, one answer lost: one run"


async def drain(site: Site) -> str:
    """A stop lets a running job end, and delivers its outcome."""
    running = asyncio.Event()

    async def handle(_: Job) -> None:
        running.set()
        await asyncio.sleep(1)

    [instance] = await site.start()
    async with site.working(handle):
        await running.wait()
    found = await site.engine.get_instance(instance.id)
    if found.status is not InstanceStatus.COMPLETED:
        raise Broken(f"the instance {found.id} is {found.status} after the worker has stopped")
    return "stopped in the middle of a job: completed"


async def long_async(site: Site) -> str:
    """A long async handler runs once: to its end where leases are renewed, else until shortly before its lease ends."""
    begun = ended = 0.0

    async def handle(_: Job) -> None:
        nonlocal begun, ended
        begun = time.monotonic()
        try:
            await asyncio.sleep(site.lease * (1.6 if site.renewable else 3))
        finally:
            ended = time.monotonic()

    [instance] = await site.start()
    async with site.working(handle):
        found = await site.ended(instance)
    site.ran(1)
    took = f"{ended - begun:.1f} s with a lease of {site.lease:.3g} s"
    if site.renewable and found.status is InstanceStatus.COMPLETED:
        return f"ran for {took}"
    # one Fail and no other run show that it was in time: no Fail is sent after the lease
    if not site.renewable and "at the end of its lease" in found.failure_reason:
        return f"interrupted after {took}, and failed"
    raise Broken(f"ran for {took}, {found.status}: {found.failure_reason}")


async def long_sync(site: Site) -> str:
    """A long sync handler, which nothing can interrupt, is not run a second time in parallel; its result counts."""

    def handle(_: Job) -> dict[str, bool]:
        time.sleep(site.lease + 1.5)
        return {"done": True}

    [instance] = await site.start()
    async with site.working(handle):
        await site.completed(instance)
    site.ran(1)
    return f"ran once, for {site.lease + 1.5:.3g} s with a lease of {site.lease:.3g} s"


async def late_outcome(site: Site) -> str:
    """An outcome that comes after the end of its lease is delivered, without another run."""

    async def handle(_: Job) -> dict[str, bool]:
        return {"done": True}

    [instance] = await site.start()
    begun = time.monotonic()
    async with site.working(handle, engine=late(site.engine, site.lease + 0.5)):
        found = await site.completed(instance)
    site.ran(1)
    if not (found.variables or {}).get("done"):
        raise Broken("the instance is COMPLETED without the result")
    return f"held back for {site.lease + 0.5:.3g} s, counted after {time.monotonic() - begun:.1f} s: one run"


async def cancelled(site: Site) -> str:
    """The handler of a cancelled instance is stopped when a renewal is refused."""
    if not site.renewable:
        return "not possible here: leases cannot be renewed"
    running, stopped, within = asyncio.Event(), asyncio.Event(), site.lease + 15  # the machine may be busy

    async def handle(_: Job) -> None:
        running.set()
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    [instance] = await site.start()
    async with site.working(handle):
        await running.wait()
        begun = time.monotonic()
        await site.engine.cancel_instance(instance.id, reason="conformance checks whether its handler stops")
        try:
            async with asyncio.timeout(within):
                await stopped.wait()
        except TimeoutError:
            raise Broken(f"the handler still ran after {within:.3g} s") from None
    return f"stopped after {time.monotonic() - begun:.1f} s with a lease of {site.lease:.3g} s"


Promise = Callable[[Site], Awaitable[str]]
ALONE: tuple[Promise, ...] = (three_steps,)
"""Tested alone."""
TOGETHER: tuple[Promise, ...] = (
    short_jobs,
    retries,
    lost_answers,
    drain,
    long_async,
    long_sync,
    late_outcome,
    cancelled,
)
"""Tested at the same time: most of them wait for leases."""
