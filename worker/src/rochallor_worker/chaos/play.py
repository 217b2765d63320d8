"""One instance, and what happens to the runs of its jobs.

At most one job is out at any time, unless the scenario gives it to two workers, so what changes during a run is its
effect.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

import msgspec

from rochallor_worker.chaos.effects import REPEATABLE, Request, Snapshot, Watched
from rochallor_worker.chaos.plan import Disturbance, Fault, Scenario
from rochallor_worker.chaos.verdict import Run
from rochallor_worker.chaos.wire import Answer, Ask, Send, no_jobs
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.records import Instance, Job

LEASE_SECONDS = 31.0
"""The engine's clock is advanced by this: a lease has ended then, and a worker asks for 30 s by default."""
RIVAL_SECONDS = 30.0
"""How long a run waits for another worker to get its job too, and to run it."""
_NEED_ANOTHER = {Fault.DOUBLE, Fault.STALLED, Fault.LATE}
"""Faults that need another worker at once."""


@dataclass(slots=True, eq=False)
class Actor:
    """A worker as this instance sees it."""

    name: str
    run: Run | None = None
    disturbance: Disturbance | None = None
    """What is to go wrong in that run."""
    late: Run | None = None
    """The run whose outcome does not get through until another worker has run its job."""


class Crew(Protocol):
    """Who can end workers."""

    async def kill(self, worker: str) -> None:
        """Kill a worker; another one takes its place."""

    async def stop(self, worker: str) -> None:
        """Stop a worker in order; another one takes its place."""


class Play:
    """One instance on the engine, undisturbed or with the disturbances of a scenario.

    Claims hold `claiming`, one at a time over all plays.
    """

    def __init__(
        self,
        engine: DevEngine,
        crew: Crew,
        watched: Watched,
        instance: Instance,
        scenario: Scenario | None,
        claiming: asyncio.Lock,
    ) -> None:
        self.instance = instance
        self.runs: list[Run] = []
        self.lines: list[str] = []
        """What has happened, in order."""
        self.struck: list[Disturbance] = []
        """What has gone wrong so far."""
        self._engine = engine
        self._crew = crew
        self._watched = watched
        self._scenario = scenario
        self._actors: dict[str, Actor] = {}
        self._wanted: Run | None = None
        """A run whose job another worker is to get, too."""
        self._claiming = claiming
        self._closed = False
        self._news = asyncio.Condition()
        self._moments = count(1)
        self._began = time.monotonic()

    @property
    def idle(self) -> bool:
        """Whether no worker has a job, or an outcome that is late."""
        return not any(actor.run or actor.late for actor in self._actors.values())

    def close(self) -> None:
        """Give workers no more jobs: those that there are from now on belong to another instance."""
        self._closed = True

    async def polled(self, worker: str, job_types: list[str], ask: Ask) -> Answer | None:
        """Give a worker a job, if none is out or a second worker is wanted for one."""
        actor = self._actor(worker)
        async with self._claiming:
            wanted = self._wanted
            busy = actor.run is not None or actor.late is not None
            if self._closed or busy or not (wanted or self._all_home):
                return no_jobs()
            answer = await ask([wanted.job_type] if wanted else job_types)
            jobs = msgspec.json.decode(answer.body)["jobs"] if answer is not None and answer.status == 200 else None
            if not jobs:
                return answer
            run = await self._claimed(actor, self._engine.state.jobs[jobs[0]["id"]])
        if self._strikes(actor, Fault.DOUBLE):
            self._note("the engine gives the job to another worker, too")
            await self._with_rival(run, lambda: any(self._others(run)))
        return answer

    async def reported(self, worker: str, job_id: str, outcome: str, send: Send) -> Answer | None:
        """Let an outcome through, or not."""
        actor = self._actor(worker)
        run = actor.run
        if run is None or run.job_id != job_id:
            return await self._repeated(actor, job_id, send)
        await self._over(run, finished=outcome == "complete")
        self._note(f"{worker}: the handler has {'returned' if run.finished else 'failed'}; its outcome is sent")
        answer: Answer | None = None
        if self._strikes(actor, Fault.KILLED):
            await self._kill(actor)
        elif self._strikes(actor, Fault.RESTART):
            self._note(f"the engine goes down before it has the outcome, and {worker} is stopped")
            await self._engine.stop()
            await self._crew.stop(worker)
            self._engine.state.advance(LEASE_SECONDS)
            await self._engine.start()
            self._note("the engine is back; the lease has ended")
        elif self._strikes(actor, Fault.LATE):
            self._note("the outcome is lost on the way")
            actor.late = run if run.finished else None  # a worker sends a failure once
            self._lease_ends()
        elif self._strikes(actor, Fault.UNHEARD):
            await send()
            self._note("the engine has the outcome; its answer is lost")
        else:
            answer = await send()
        await self._leave(actor)
        return answer

    async def requested(self, worker: str, request: Request, send: Send) -> Answer | None:
        """Let a request of a handler through, or its answer be lost; record it."""
        actor = self._actor(worker)
        run = actor.run
        if run is None or request.method in REPEATABLE or self._watched.ignores(request.label):
            return await send()
        at = len(run.requests)
        if self._strikes(actor, Fault.STALLED, at):
            self._note(f"{worker} stalls before {request.method} {request.url}")
            await self._with_rival(run, lambda: any(one.ended for one in self._others(run)))
            self._note(f"{worker} goes on")
        answer = await send()
        run.requests.append(replace(request, status=None if answer is None else answer.status))
        key = f", Idempotency-Key {request.key}" if request.key else ""
        self._note(f"{worker}: {request.method} {request.url} (body {request.digest}{key}) → {_told(answer)}")
        if self._strikes(actor, Fault.KILLED_AT, at):
            await self._kill(actor)
            await self._over(run, finished=False)
            await self._leave(actor)
            return None
        if self._strikes(actor, Fault.UNANSWERED, at):
            self._note("that answer is lost")
            return None
        return answer

    # its parts

    def _actor(self, worker: str) -> Actor:
        return self._actors.setdefault(worker, Actor(worker))

    @property
    def _all_home(self) -> bool:
        return not any(actor.run for actor in self._actors.values())

    async def _claimed(self, actor: Actor, job: Job) -> Run:
        run = Run(
            key=job.execution.id,
            job_id=job.id,
            step=job.execution.step_id,
            job_type=job.job_type,
            worker=actor.name,
            began=next(self._moments),
            before=await self._snapshot(),
        )
        earlier = sum(one.step == run.step for one in self.runs)
        self.runs.append(run)
        actor.run, actor.disturbance = run, None
        if self._scenario is not None and self._scenario.step == run.step:
            actor.disturbance = dict(enumerate(self._scenario.disturbances)).get(earlier)
        self._wanted = None
        self._note(f"{actor.name} gets the job of step {run.step!r} (key {run.key})")
        await self._tell()
        return run

    def _strikes(self, actor: Actor, fault: Fault, request: int = 0) -> bool:
        """Whether this fault strikes now. One that needs another worker doesn't if that one would not get the job."""
        if actor.disturbance != (fault, request) or actor.run is None:
            return False
        if fault in _NEED_ANOTHER:
            busy = any(one.run or one.late for one in self._actors.values() if one is not actor)
            jobs, job_type = self._engine.state.jobs.values(), actor.run.job_type
            if busy or any(job.status == "UNLOCKED" and job.job_type == job_type for job in jobs):
                return False
        self.struck.append(actor.disturbance)
        actor.disturbance = None
        return True

    async def _with_rival(self, run: Run, condition: Callable[[], bool]) -> None:
        """Let another worker have the job too, and wait until something is so."""
        self._lease_ends()
        self._wanted = run
        try:
            async with asyncio.timeout(RIVAL_SECONDS), self._news:
                await self._news.wait_for(condition)
        except TimeoutError:
            self._note("but no other worker does")
            self.struck.clear()
        self._wanted = None

    async def _repeated(self, actor: Actor, job_id: str, send: Send) -> Answer | None:
        """Let an outcome through that was sent before; a late one only if another worker has run its job."""
        late = actor.late
        if late is None or late.job_id != job_id:
            return await send()
        if self.instance.live and not any(one.ended for one in self._others(late)):
            return None
        answer = await send()
        self._note(f"{actor.name}: the outcome arrives late → {_told(answer)}")
        actor.late = None
        return answer

    def _others(self, run: Run) -> list[Run]:
        """Return the other runs of its job."""
        return [one for one in self.runs if one.key == run.key and one is not run]

    async def _kill(self, actor: Actor) -> None:
        await self._crew.kill(actor.name)
        self._note(f"{actor.name} is killed (SIGKILL)")
        self._lease_ends()

    def _lease_ends(self) -> None:
        self._engine.state.advance(LEASE_SECONDS)
        self._note("the lease ends")

    async def _over(self, run: Run, *, finished: bool) -> None:
        run.after, run.ended, run.finished = await self._snapshot(), next(self._moments), finished

    async def _leave(self, actor: Actor) -> None:
        actor.run = actor.disturbance = None
        await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _snapshot(self) -> Snapshot:
        return await asyncio.to_thread(self._watched.snapshot)

    def _note(self, text: str) -> None:
        self.lines.append(f"{time.monotonic() - self._began:7.2f} s  {text}")


def _told(answer: Answer | None) -> str:
    return "no answer" if answer is None else str(answer.status)
