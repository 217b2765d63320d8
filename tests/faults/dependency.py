"""What handlers need is away for minutes: what the breaker saves, and what an outage costs without it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from faults.fleet import EACH, A, D
from faults.handlers import RETRIES
from faults.kafka import brokers, dispatched
from faults.result import Outage, WithoutBreaker
from faults.site import STEPS, Site, site
from faults.suite import Suite
from faults.worker import JOB_S
from rochallor_worker.execution.journal import MAX_CRASHES
from rochallor_worker.handlers.breaker import DEFAULT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from faults.result import Jobs
    from faults.suite import Play, Trial
    from integration.worker.conftest import Worker

BREAKER = "rochallor_worker_breaker_open"
MAY_TAKE_S = 180.0
"""What may be left to do after an outage beside the ordinary: a pause before the last probe, and leases of both."""


@asynccontextmanager
async def away(here: Site, *files: str) -> AsyncIterator[None]:
    """The dependency is away for those whom these files tell, at least as long as the block and an outage last."""
    paths = [here.trial.folder / name for name in files or ("away",)]
    until = time.monotonic() + here.trial.size.outage
    for path in paths:
        path.touch()
    yield
    await asyncio.sleep(until - time.monotonic())
    for path in paths:
        path.unlink()
    here.recovers_since = time.time()


async def opened(here: Site, *workers: Worker) -> None:
    """Wait until the breakers of these are open, and nothing runs there; they are ready and say so."""
    for worker in workers:
        await worker.shows(BREAKER, 1)
        await here.until(lambda: not here.held(worker))  # noqa: B023 — it is called at once
        answer = await worker.get("/readyz")
        assert (answer.status_code, answer.text[:12]) == (200, "BreakerOpen:"), answer.text


async def for_all(here: Site) -> None:
    """It is away for all workers."""
    async with away(here):
        await opened(here, *here.running)


async def without_breaker(here: Site) -> None:
    """The same, with the breakers turned off."""
    async with away(here):
        pass


async def for_one_of_two(here: Site) -> None:
    """It is away for one of two workers of each type; the other one goes on meanwhile."""
    cut_off, before = here.one_of_each(), here.done()
    async with away(here, *(f"away-{worker.process.pid}" for worker in cut_off)):
        await opened(here, *cut_off)
        await here.until(lambda: here.done() >= before + here.trial.size.jobs // 10)
        for worker in here.running.keys() - {*cut_off}:
            assert await worker.metric(BREAKER) == 0


def start_more(here: Site, processes: int) -> None:
    """Start more instances, so that so many further processes of each type find enough retries to open their breakers.

    A breaker cannot tell an outage from jobs at fault before so many runs have failed.
    """
    here.start(processes * DEFAULT.failures * len(here.settings), JOB_S)


async def kills(here: Site) -> None:
    """All workers are killed while their breakers are open, as often as a journal lets a job kill its worker."""
    start_more(here, MAX_CRASHES)
    async with away(here):
        for _ in range(MAX_CRASHES):
            for worker, job_type in [*here.running.items()]:
                await opened(here, worker)
                here.kill(worker)
                await worker.ended()
                await here.run(job_type)


async def drains(here: Site) -> None:
    """All workers are replaced while their breakers are open, as a rollout does."""
    start_more(here, 1)
    async with away(here):
        for worker, job_type in [*here.running.items()]:
            await opened(here, worker)
            await here.run(job_type)
            await here.stop(worker)


def injected(
    sites: Callable[[Any, Trial], AbstractAsyncContextManager[Site]],
    outage: Callable[[Site], Awaitable[None]],
    *,
    each: int = 1,
    breaker: bool = True,
    journals: bool = False,
) -> Play[Any]:
    """Inject an outage on a site of its own, with `each` workers per job type."""

    async def play(server: Any, trial: Trial) -> Outage:
        async with sites(server, trial) as here:
            here.handler, here.fails = "call", False
            here.patience += MAY_TAKE_S
            if journals:
                here.keep_journals()
            if not breaker:
                for job_type, settings in here.settings.items():
                    settings["limits"] = json.dumps([{"jobType": job_type, "breaker": False}])
            figures = await here.inject(partial(outage, here), seconds=JOB_S, each=each)
            return counted(here, figures, Outage if breaker else WithoutBreaker)

    return play


def counted(here: Site, figures: Jobs, kind: type[Outage]) -> Outage:
    """Count the retries and instances that the outage has cost. Raises AssertionError if no run failed."""
    raised = [note for note in here.ledger.notes if note.what == "raise"]
    assert raised, "the outage met no job"
    failed = [instance for instance in here.judged() if instance.status == "FAILED"]
    never_done = sum(STEPS - sum(step.status == "COMPLETED" for step in instance.history) for instance in failed)
    left: dict[str, int] = {}
    for job in here.engine.state.jobs.values():
        left[job.execution.id] = min(job.retries_remaining, left.get(job.execution.id, RETRIES))
    runs = Counter(note.job for note in raised)
    spent = sum(RETRIES - retries for retries in left.values())
    return kind(
        **vars(figures)
        | {
            "lost": figures.lost - never_done,
            "retries": sum(max(0, RETRIES - retries - runs[job]) for job, retries in left.items()),
        },
        failed=len(failed),
        spent=spent,
        overspent=max(0, spent - len({note.process for note in raised}) * DEFAULT.failures),
    )


def rows(sites: Callable[[Any, Trial], AbstractAsyncContextManager[Site]]) -> dict[str, Play[Any]]:
    """Return every outage on sites of a kind."""
    return {
        "away": injected(sites, for_all),
        "away, without the breaker": injected(sites, without_breaker, breaker=False),
        "away for one of two workers": injected(sites, for_one_of_two, each=2),
        "away, SIGKILL while the breaker is open": injected(sites, kills, journals=True),
        "away, SIGTERM while the breaker is open": injected(sites, drains),
    }


DEPENDENCY = Suite(
    "Dependency",
    nullcontext,
    rows(lambda _, trial: site(trial)),
    fleets=EACH,
    crucial={"away": (A, D)},
    at_once=6,
)
DEPENDENCY_OVER_KAFKA = Suite("Dependency, jobs over Kafka", brokers, rows(dispatched), fleets=(A, D), at_once=5)
