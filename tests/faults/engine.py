"""Faults of the engine and of the way to it, under load."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from faults.site import Site, site
from faults.suite import Suite
from rochallor_worker.devengine import Fault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faults.result import Jobs
    from faults.suite import Trial


def under_load(fault: Callable[[Site], Awaitable[None]]) -> Callable[[None, Trial], Awaitable[Jobs]]:
    """Two workers at work on half of the jobs when the fault begins; the others come while it lasts."""

    async def play(_: None, trial: Trial) -> Jobs:
        jobs = trial.size.jobs
        async with site(trial) as here:
            async with here.workers():
                here.start(jobs // 2)
                await here.until(lambda: here.done() > jobs // 10)
                meanwhile = asyncio.create_task(_later(here, jobs - jobs // 2))
                await fault(here)
                ended_at = time.monotonic()
                await meanwhile
                await here.until_done(jobs)
                recovery = time.monotonic() - ended_at
            return here.figures(recovery)

    return play


async def _later(here: Site, count: int) -> None:
    here.start(count)


async def lost_poll_answers(here: Site) -> None:
    """The engine gives jobs out, and nobody hears of them."""
    here.engine.faults.next("poll_jobs", *[Fault(answer="lost")] * 4)
    calls = here.engine.faults.calls
    met = calls["poll_jobs"] + 4
    await here.until(lambda: calls["poll_jobs"] >= met)


ENGINE = Suite("Engine", nullcontext, {"lost poll answer": under_load(lost_poll_answers)}, at_once=4)
