"""Faults of the worker's own process: stopped, killed, frozen, blocked, out of disk space."""

from __future__ import annotations

import asyncio
import resource
import signal
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from faults.fleet import EACH, A, D
from faults.result import with_second_runs
from faults.site import DRAIN_S, SLOTS, Site, nothing, site
from faults.suite import NO_FAULT, Suite

if TYPE_CHECKING:
    from faults.result import Jobs
    from faults.suite import Trial
    from integration.worker.conftest import Worker

JOB_S = 0.2
"""How long jobs take here, so that some are running when the fault is injected."""
KILLS = 2
"""With a journal, a third kill in a row could be blamed on a job that ran each time."""


async def no_fault(_: None, trial: Trial) -> Jobs:
    """No fault, for comparison."""
    async with site(trial) as here:
        return await here.inject(nothing, seconds=JOB_S)


async def sigterm(_: None, trial: Trial) -> Jobs:
    """Workers are replaced one by one, as a rollout does."""
    async with site(trial) as here:

        async def replace() -> None:
            for worker, job_type in [*here.running.items()]:
                await here.run(job_type)
                await here.stop(worker)

        return await here.inject(replace, seconds=JOB_S)


async def sigterm_under_long_jobs(_: None, trial: Trial) -> Jobs:
    """Workers get SIGTERM while jobs longer than the drain run; other workers get those when their leases end."""
    async with site(trial) as here:
        for settings in here.settings.values():
            settings["drain_timeout"] = "1s"  # a busy machine may be slow to stop them: the jobs must last longer

        def long() -> set[str]:
            jobs = here.engine.state.jobs.values()
            return {job.execution.id for job in jobs if job.variables["seconds"] > DRAIN_S}

        async def cut_off() -> None:
            here.start(2 * len(here.settings), DRAIN_S + 1)
            victims = here.running.copy()
            await here.until(lambda: all(here.held(worker) & long() for worker in victims))
            here.mark_victims(*victims)
            await asyncio.gather(*map(here.stop, victims), *map(here.run, victims.values()))

        return with_second_runs(await here.inject(cut_off))


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
    """Kill every worker several times while it runs jobs, each time starting another in its place."""
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

    return with_second_runs(await here.inject(kill_all, seconds=JOB_S))


async def sigstop(_: None, trial: Trial) -> Jobs:
    """One of two workers is frozen for two leases; its jobs go to the other; then it continues."""
    async with site(trial) as here:
        return await frozen(here, 2 * trial.size.lease)


async def frozen(here: Site, seconds: float) -> Jobs:
    """Freeze one of two workers of each job type for `seconds`, each as soon as its slots are full."""

    async def hold(worker: Worker) -> None:
        await here.until(lambda: len(here.held(worker)) == SLOTS)
        worker.process.send_signal(signal.SIGSTOP)
        here.mark_victims(worker)
        await asyncio.sleep(seconds)
        worker.process.send_signal(signal.SIGCONT)

    async def hold_each() -> None:
        await asyncio.gather(*map(hold, here.one_of_each()))

    return with_second_runs(await here.inject(hold_each, seconds=JOB_S, each=2))


async def blocked_loop(_: None, trial: Trial) -> Jobs:
    """A handler of one of two workers blocks the event loop, and every other job with it, for two leases."""
    async with site(trial) as here:

        async def block() -> None:
            victims = here.one_of_each()
            here.mark_victims(*victims)
            for worker in victims:
                here.block(worker, 2 * trial.size.lease)
            for worker in victims:
                await worker.logged("a handler blocks the event loop")
            await asyncio.sleep(2 * trial.size.lease)

        return with_second_runs(await here.inject(block, seconds=JOB_S, each=2))


async def full_disk(_: None, trial: Trial) -> Jobs:
    """The journal's disk is full for a while; when there is room again, the worker is killed."""
    async with site(trial) as here:
        here.keep_journals()

        async def fill() -> None:
            room, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            for worker in here.running:
                resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (0, most))
            await here.progress(trial.size.jobs // 4)
            for worker in here.running:
                await worker.logged("the journal cannot be written")
                assert await worker.metric("rochallor_worker_journal_errors_total") > 0
                assert worker.log.count("the journal cannot be written") == 1
                resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (room, most))
            for worker, job_type in [*here.running.items()]:
                await worker.logged("the journal can be written again")
                here.kill(worker)
                await worker.ended()
                await here.run(job_type)

        return await here.inject(fill, seconds=JOB_S)


WORKER = Suite(
    "Worker",
    nullcontext,
    {
        NO_FAULT: no_fault,
        "SIGTERM": sigterm,
        "SIGTERM, jobs longer than the drain": sigterm_under_long_jobs,
        "SIGKILL or OOM": sigkill,
        "SIGKILL or OOM, with a journal": sigkill_with_journal,
        "SIGSTOP for two leases": sigstop,
        "event loop blocked for two leases": blocked_loop,
        "disk full for the journal": full_disk,
    },
    fleets=EACH,
    crucial={"SIGKILL or OOM, with a journal": (A, D), "SIGSTOP for two leases": (A, D)},
    at_once=8,
)
