"""Faults of leases: not renewed, taken away, skewed clocks; and jobs that kill workers or take long."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from faults.fleet import A_AND_D, EACH, A, C, D
from faults.result import with_second_runs
from faults.site import SLOTS, Site, site
from faults.suite import NO_FAULT, Suite
from faults.worker import JOB_S
from rochallor_worker.devengine import Fault
from rochallor_worker.execution.journal import MAX_CRASHES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faults.result import Jobs
    from faults.suite import Play, Trial
    from integration.worker.conftest import Worker

SKEW_S = 2.0
PART = 0.4
"""Of a lease: a job of this length is renewed where possible, but never depends on it, whatever the skew."""
LONGER_S = 30.0
"""A lease that leaves a busy machine time between an event, such as the end of an outage, and the end of the lease."""
NOTICED_S = 15.0
"""What a busy machine may add to the third of `LONGER_S` after which a worker knows that a job is no longer its own."""
BACK_S = 25.0
"""How soon a dead worker's jobs are redelivered with leases of 5 s."""
TRICKLE_S = 0.3
"""Between the starts of jobs beside one that kills its worker."""


def with_leases(fault: Callable[[Site], Awaitable[object]], lease: float | None = None) -> Play[None]:
    """Inject it on a site under load, where workers request a `lease` of so many seconds, or the trial's."""

    async def play(_: None, trial: Trial) -> Jobs:
        async with site(trial) as here:
            if lease is not None:
                _request(here, lease)
            figures = await here.inject(lambda: fault(here), seconds=JOB_S)
        return with_second_runs(figures) if here.taken else figures

    return play


def _request(here: Site, lease: float) -> None:
    for settings in here.settings.values():
        settings["lease"] = f"{lease:g}s"


async def no_fault(here: Site) -> None:
    """Run jobs that are renewed once, if possible."""
    here.start_some(SLOTS, PART * here.trial.size.lease)


def skewed(seconds: float) -> Callable[[Site], Awaitable[None]]:
    """The engine's clock is `seconds` ahead of its database's, which checks the leases that the engine grants."""

    async def play(here: Site) -> None:
        here.engine.state.skew = seconds
        here.start_some(SLOTS, PART * here.trial.size.lease)
        if here.trial.fleet is D:
            here.start_some(SLOTS, here.trial.size.lease)

    return play


async def renewals_lost(_: None, trial: Trial) -> Jobs:
    """Twice, all answers to renewals are lost for a quarter of a lease, while jobs run that need them."""
    async with site(trial) as here:
        _request(here, LONGER_S)

        async def lose() -> None:
            long = here.start_some(SLOTS, 1.5 * LONGER_S)
            await here.until(lambda: long <= here.begun())
            for _ in range(2):
                here.engine.faults.always("extend_lease", Fault(answer="lost"))
                await asyncio.sleep(LONGER_S / 4)
                here.engine.faults.clear()
                await asyncio.sleep(LONGER_S / 4)

        return await here.inject(lose, seconds=JOB_S)


async def taken_away(here: Site) -> None:
    """The engine ends the leases of all running jobs; another worker claims the jobs and never runs them."""
    here.patience += LONGER_S
    long = here.start_some(SLOTS, 1.5 * LONGER_S)
    await here.until(lambda: long <= here.begun())
    here.taken |= long
    here.recovers_since = time.time()
    state = here.engine.state
    for job in [job for job in state.jobs.values() if job.execution.id in long and job.status == "LOCKED"]:
        state._jobs.extend(job, 0.0)
    state.sweep()
    state.poll("another", [*here.settings], len(state.jobs))
    await noticed(here, long)


async def cancelled(here: Site) -> None:
    """Instances are cancelled while the handlers of their jobs hold all slots."""
    await here.until(lambda: here.done() == len(here.judged()))
    before = {*here.engine.state.instances}
    long = here.start_some(SLOTS, 2 * max(here.trial.size.long, LONGER_S))
    here.apart |= here.engine.state.instances.keys() - before
    await here.until(lambda: long <= here.begun())
    here.start(2 * SLOTS, JOB_S)
    here.recovers_since = time.time()
    for instance in here.apart:
        here.engine.state.cancel(instance)
    await noticed(here, long)


async def noticed(here: Site, keys: set[str]) -> None:
    """Wait until the handlers of jobs that no longer belong to their worker are stopped."""
    began, soon = time.monotonic(), LONGER_S / 3 + NOTICED_S
    await here.until(lambda: keys <= here.stopped())
    took = time.monotonic() - began
    assert took < soon, f"handlers were stopped after {took:.1f} s; allowed are {soon:.1f} s"


async def upgraded(here: Site) -> None:
    """The engine is replaced under load by one that fences and renews; then jobs arrive that need it."""
    here.start_some(SLOTS, PART * here.trial.size.lease)
    await here.progress(here.trial.size.jobs // 10)
    await here.engine.stop()
    here.engine.state.generation = "fenced"
    await here.engine.start()
    here.start_some(SLOTS, 2 * here.trial.size.lease)


async def downgraded(here: Site) -> None:
    """The engine is replaced under load by one that neither fences nor renews."""
    here.start_some(SLOTS, PART * here.trial.size.lease)
    await here.progress(here.trial.size.jobs // 10)
    await here.engine.stop()
    here.engine.state.generation = "A"
    await here.engine.start()
    here.start_some(SLOTS, PART * here.trial.size.lease)


async def long_handler(here: Site) -> None:
    """Jobs take many leases."""
    here.patience += here.trial.size.long
    long = here.start_some(SLOTS // 2, here.trial.size.long)
    await here.until(lambda: long <= {note.job for note in here.ledger.notes if note.what == "end"})


async def short_lease(_: None, trial: Trial) -> Jobs:
    """One of two workers with leases of 5 s is killed; its jobs are handed out again soon.

    A new attempt is as young as its own row, so it still waits behind every job that waited before it.
    """
    async with site(trial) as here:
        _request(here, 5)

        async def kill() -> None:
            victims = here.one_of_each()
            await here.until(lambda: all(map(here.held, victims)))
            for worker in victims:
                here.kill(worker)
            killed_at = time.monotonic()
            for worker in victims:
                await worker.ended()
            here.ledger.read()
            left = set().union(*map(here.held, victims))
            await here.until(lambda: left <= here.waiting() | here.begun(but=victims))
            took = time.monotonic() - killed_at
            assert took < BACK_S, f"the jobs of killed workers were back after {took:.1f} s; allowed are {BACK_S:.0f} s"

        return with_second_runs(await here.inject(kill, seconds=JOB_S, each=2))


async def poison(_: None, trial: Trial) -> Jobs:
    """A job kills its worker whenever it runs."""
    async with site(trial) as here:
        return await poisoned(here)


async def poisoned(here: Site) -> Jobs:
    """One job of each type kills its worker whenever it runs, beside others, and the worker is restarted."""
    here.keep_journals()
    here.patience += MAX_CRASHES * (here.trial.size.lease + here.trial.size.sweep)

    async def outlive(worker: Worker, job_type: str) -> None:
        killer = here.start_one(job_type, JOB_S, kills=True)
        here.apart.add(killer.id)
        kills = 0

        def ended() -> bool:
            return worker.process.returncode is not None or killer.status == "FAILED"

        async def neighbours() -> None:
            while True:
                here.start_one(job_type, JOB_S)
                await asyncio.sleep(TRICKLE_S)

        trickle = asyncio.create_task(neighbours())
        try:
            while True:
                await here.until(ended)
                if killer.status == "FAILED":
                    break
                kills += 1
                here.note_killed(worker)
                worker = await here.run(job_type)
        finally:
            trickle.cancel()
        assert kills == MAX_CRASHES, f"killed {kills} workers"
        assert killer.failure_reason == f"killed its worker {MAX_CRASHES} times"

    async def outlive_all() -> None:
        await asyncio.gather(*(outlive(worker, job_type) for worker, job_type in here.running.items()))

    return with_second_runs(await here.inject(outlive_all, seconds=JOB_S))


async def long_in_a_thread(_: None, trial: Trial) -> Jobs:
    """Handlers that cannot be interrupted take 1.5 leases."""
    async with site(trial) as here:
        here.handler = "work_in_a_thread"

        async def start() -> None:
            here.start_some(SLOTS // 2, 1.5 * trial.size.lease)

        return await here.inject(start, seconds=JOB_S)


LEASES = Suite(
    "Leases",
    nullcontext,
    {
        NO_FAULT: with_leases(no_fault),
        "engine's clock 2 s ahead": with_leases(skewed(SKEW_S)),
        "engine's clock 2 s behind": with_leases(skewed(-SKEW_S)),
        "renewal answers lost": renewals_lost,
        "lease taken away": with_leases(taken_away, LONGER_S),
        "instance cancelled": with_leases(cancelled, LONGER_S),
        "renewal by every other replica": with_leases(no_fault),
        "engine upgraded": with_leases(upgraded),
        "engine downgraded": with_leases(downgraded),
        "job of many leases": with_leases(long_handler),
        "SIGKILL with leases of 5 s": short_lease,
        "job that kills its worker": poison,
        "uninterruptible job of 1.5 leases": long_in_a_thread,
    },
    fleets=EACH,
    only={
        NO_FAULT: (C, D),
        "renewal answers lost": (D,),
        "lease taken away": (D,),
        "instance cancelled": (D,),
        "renewal by every other replica": (A_AND_D,),
        "engine upgraded": (A,),
        "engine downgraded": (D,),
        "job of many leases": (D,),
        "SIGKILL with leases of 5 s": (D,),
    },
    crucial={
        NO_FAULT: (),  # the replicas in turn do the same
        "engine's clock 2 s behind": (C, D),
        "job that kills its worker": (A, D),
        "uninterruptible job of 1.5 leases": EACH,
    },
    at_once=9,
)
