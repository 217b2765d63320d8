"""Faults of the worker's own process: ended, killed, held, blocked, without room to write."""

from __future__ import annotations

import asyncio
import resource
import signal
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from faults.result import bitten
from faults.site import DRAIN_S, SLOTS, Site, nothing, site
from faults.suite import NO_FAULT, Suite

if TYPE_CHECKING:
    from faults.result import Jobs
    from faults.suite import Trial
    from integration.worker.conftest import Worker

JOB_S = 0.2
"""How long jobs take here, so that some run whenever a fault comes."""
KILLS = 2
"""A third in a row could be held against a job that ran each time, where there is a journal."""


async def unhurt(_: None, trial: Trial) -> Jobs:
    """What the work takes by itself."""
    async with site(trial) as here:
        return await here.suffer(nothing, seconds=JOB_S)


async def sigterm(_: None, trial: Trial) -> Jobs:
    """Workers are replaced one by one, as a rollout does."""
    async with site(trial) as here:

        async def replace() -> None:
            for worker, job_type in [*here.running.items()]:
                await here.run(job_type)
                await here.stop(worker)

        return await here.suffer(replace, seconds=JOB_S)


async def sigterm_under_long_jobs(_: None, trial: Trial) -> Jobs:
    """Workers whose jobs take longer than they have after SIGTERM; another worker gets those when their lease ends."""
    async with site(trial) as here:

        async def cut_off() -> None:
            here.start(2 * len(here.settings), DRAIN_S + 1)
            long = {job.id for job in here.engine.state.jobs.values() if job.variables["seconds"] > DRAIN_S}
            victims = here.running.copy()
            await here.until(lambda: all(here.held(worker) & long for worker in victims))
            here.hurt(*victims)
            await asyncio.gather(*map(here.stop, victims), *map(here.run, victims.values()))

        return bitten(await here.suffer(cut_off))


async def sigkill(_: None, trial: Trial) -> Jobs:
    """Workers are killed at random instants and started again, as the kernel and a kubelet do when memory runs out."""
    async with site(trial) as here:
        return await killed(here)


async def sigkill_with_journal(_: None, trial: Trial) -> Jobs:
    """The same, with a journal that each new process finds."""
    async with site(trial) as here:
        here.keep_journals()
        return await killed(here)


async def killed(here: Site) -> Jobs:
    """Kill every worker some times while it runs jobs, and start another in its place."""
    random = here.trial.random()

    async def kill(worker: Worker, job_type: str) -> None:
        for _ in range(KILLS):
            await here.until(partial(here.held, worker))
            await asyncio.sleep(random.uniform(0, JOB_S))
            here.kill(worker)
            await worker.ended()
            worker = await here.run(job_type)

    async def kill_all() -> None:
        await asyncio.gather(*(kill(worker, job_type) for worker, job_type in here.running.items()))

    return bitten(await here.suffer(kill_all, seconds=JOB_S))


async def sigstop(_: None, trial: Trial) -> Jobs:
    """One of two workers stands still for two leases; its jobs go to the other; then it goes on where it was."""
    async with site(trial) as here:
        return await held_still(here, 2 * trial.size.lease)


async def held_still(here: Site, seconds: float) -> Jobs:
    """One of two workers of each kind stands still for so long, with its slots full."""

    async def hold() -> None:
        victims = here.one_of_each()
        await here.until(lambda: all(len(here.held(worker)) == SLOTS for worker in victims))
        for worker in victims:
            worker.process.send_signal(signal.SIGSTOP)
        here.hurt(*victims)
        await asyncio.sleep(seconds)
        for worker in victims:
            worker.process.send_signal(signal.SIGCONT)

    return bitten(await here.suffer(hold, seconds=JOB_S, each=2))


async def blocked_loop(_: None, trial: Trial) -> Jobs:
    """A handler of one of two workers blocks the event loop, and every other job with it, for two leases."""
    async with site(trial) as here:

        async def block() -> None:
            victims = here.one_of_each()
            here.hurt(*victims)
            for worker in victims:
                here.block(worker, 2 * trial.size.lease)
            for worker in victims:
                await worker.logged("a handler blocks the event loop")
            await asyncio.sleep(2 * trial.size.lease)

        return bitten(await here.suffer(block, seconds=JOB_S, each=2))


async def full_disk(_: None, trial: Trial) -> Jobs:
    """Nothing can be written where the journal is, for a while; then there is room, and the worker is killed."""
    async with site(trial) as here:
        here.keep_journals()

        async def fill() -> None:
            room, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            for worker in here.running:
                resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (0, most))
            await here.progress(trial.size.jobs // 4)
            for worker in here.running:
                assert await worker.metric("rochallor_worker_journal_errors_total") > 0
                assert worker.log.count("the journal cannot be written") == 1
                resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (room, most))
            for worker, job_type in [*here.running.items()]:
                await worker.logged("the journal can be written again")
                here.kill(worker)
                await worker.ended()
                await here.run(job_type)

        return await here.suffer(fill, seconds=JOB_S)


WORKER = Suite(
    "Worker",
    nullcontext,
    {
        NO_FAULT: unhurt,
        "SIGTERM": sigterm,
        "SIGTERM, jobs longer than the drain": sigterm_under_long_jobs,
        "SIGKILL or OOM": sigkill,
        "SIGKILL or OOM, with a journal": sigkill_with_journal,
        "SIGSTOP for two leases": sigstop,
        "event loop blocked for two leases": blocked_loop,
        "disk full for the journal": full_disk,
    },
    at_once=8,
)
