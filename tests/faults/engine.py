"""Faults of the engine under load: wrong, late and missing answers, and restarts."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, get_args

from faults.fleet import EACH, A, D
from faults.site import Site, nothing, over_each, site
from faults.suite import NO_FAULT, Suite
from rochallor_worker.devengine import Fault
from rochallor_worker.devengine.faults import CallName

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faults.result import Jobs
    from faults.site import Transport
    from faults.suite import Trial


def met(call: CallName, fault: Fault, times: int) -> Callable[[Site], Awaitable[None]]:
    """A fault that hits this many calls of a kind."""

    async def play(here: Site) -> None:
        faults = here.engine.faults
        enough = faults.calls[call] + times
        faults.always(call, fault)
        await here.until(lambda: faults.calls[call] >= enough)
        faults.clear()

    return play


def lasting(fault: Fault) -> Callable[[Site], Awaitable[None]]:
    """A fault that hits every call for half a lease."""

    async def play(here: Site) -> None:
        for call in get_args(CallName):
            here.engine.faults.always(call, fault)
        await asyncio.sleep(here.trial.size.lease / 2)
        here.engine.faults.clear()

    return play


async def restart(here: Site) -> None:
    """All connections are closed and new ones refused for half a lease."""
    await here.engine.stop()
    await asyncio.sleep(here.trial.size.lease / 2)
    await here.engine.start()


def at_the_engine(fault: Callable[[Site], Awaitable[None]]) -> Callable[[None, Trial], Awaitable[Jobs]]:
    """Inject it on sites of its own."""

    async def over(transport: Transport, trial: Trial) -> Jobs:
        async with site(trial, transport) as here:
            return await here.inject(lambda: fault(here))

    async def play(_: None, trial: Trial) -> Jobs:
        return await over_each(trial, over)

    return play


ENGINE = Suite(
    "Engine",
    nullcontext,
    {
        NO_FAULT: at_the_engine(lambda _: nothing()),
        "lost poll answer": at_the_engine(met("poll_jobs", Fault(answer="lost"), 4)),
        "lost complete request": at_the_engine(met("complete_job", Fault(times=0), 10)),
        "lost complete answer": at_the_engine(met("complete_job", Fault(answer="lost"), 10)),
        "lost fail request": at_the_engine(met("fail_job", Fault(times=0), 4)),
        "lost fail answer": at_the_engine(met("fail_job", Fault(answer="lost"), 4)),
        "complete that arrives twice": at_the_engine(met("complete_job", Fault(times=2), 10)),
        "slow engine": at_the_engine(lasting(Fault(delay_before=0.5, delay_after=0.5))),
        "5xx burst": at_the_engine(lasting(Fault(times=0, answer="error"))),
        "5xx though carried out": at_the_engine(lasting(Fault(answer="error"))),
        "engine restart": at_the_engine(restart),
    },
    fleets=EACH,
    crucial={"lost complete answer": (A, D), "lost fail answer": (A, D)},
    at_once=7,
)
