"""The stage: one engine, and two worker processes that are replaced when they end."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from rochallor_worker.chaos.effects import Request, Watched
from rochallor_worker.chaos.plan import Scenario
from rochallor_worker.chaos.play import Play
from rochallor_worker.chaos.wire import Answer, Ask, Send, Wire, no_jobs
from rochallor_worker.chaos.workers import WorkerProcess
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.records import Instance
from rochallor_worker.errors import StartError

CREW = 2
"""Workers: one may stall while the other one goes on."""
STARTS_WITHIN = 60.0
"""How long a worker may take to ask for jobs, in seconds."""
LOOK_SECONDS = 0.02
"""How often the instance is looked at."""


class Stage:
    """Plays instances. Their workers run `handlers`, which know `services`: base URLs by the name of their variable.

    What the workers print goes to `folder`. An instance may take `within` seconds.
    """

    def __init__(
        self,
        engine: DevEngine,
        handlers: str,
        services: Mapping[str, str],
        watched: Watched,
        folder: Path,
        within: float,
    ) -> None:
        self._engine = engine
        self._handlers = handlers
        self._services = services
        self._watched = watched
        self._folder = folder
        self._within = within
        self._workers: dict[str, WorkerProcess] = {}
        self._wires = AsyncExitStack()
        self._names = (f"worker {number}" for number in itertools.count(1))
        self._hiring: set[asyncio.Task[None]] = set()
        self._claiming = asyncio.Lock()
        self._play: Play | None = None
        self._problem: StartError | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start the workers; kill them at the end. Raises `StartError` if they do not start."""
        try:
            await asyncio.gather(*(self._hire() for _ in range(CREW)))
            await self._staffed()
            yield
        finally:
            for task in self._hiring:
                task.cancel()
            for worker in self._workers.values():
                await worker.kill()
            await self._wires.aclose()

    async def play(self, definition_id: str, variables: Mapping[str, Any], scenario: Scenario | None = None) -> Play:
        """Run one instance to its end. Raises `StartError` if it does not get there."""
        await self._staffed()
        async with self._claiming:
            if self._play is not None:
                self._play.close()
            instance = self._engine.state.start(definition_id, 0, dict(variables), "")
            self._play = play = Play(self._engine, self, self._watched, instance, scenario, self._claiming)
        until = time.monotonic() + self._within
        while instance.live or not play.idle:
            self._check()
            if time.monotonic() > until:
                at = ", ".join(instance.current_step_ids) or "its end"
                told = "\n".join(play.lines)
                raise StartError(f"an instance is {instance.status} at {at} after {self._within:g} s; so far:\n{told}")
            if play.idle:
                self._answer_for_people(instance)
            await asyncio.sleep(LOOK_SECONDS)
        return play

    # a play's crew

    async def kill(self, worker: str) -> None:
        await self._workers.pop(worker).kill()
        self._replace()

    async def stop(self, worker: str) -> None:
        await self._workers.pop(worker).stop()
        self._replace()

    # the director of all wires

    async def polled(self, worker: str, job_types: list[str], ask: Ask) -> Answer | None:
        if worker in self._workers:
            self._workers[worker].asked.set()
        return no_jobs() if self._play is None else await self._noticing(self._play.polled(worker, job_types, ask))

    async def reported(self, worker: str, job_id: str, outcome: str, send: Send) -> Answer | None:
        if self._play is None:
            return await send()
        return await self._noticing(self._play.reported(worker, job_id, outcome, send))

    async def requested(self, worker: str, request: Request, send: Send) -> Answer | None:
        if self._play is None:
            return await send()
        return await self._noticing(self._play.requested(worker, request, send))

    async def _noticing(self, deciding: Awaitable[Answer | None]) -> Answer | None:
        """Wait for a decision; keep what has prevented it for `play`."""
        try:
            return await deciding
        except StartError as error:
            self._problem = error
            return None

    def _replace(self) -> None:
        task = asyncio.create_task(self._hire())
        self._hiring.add(task)
        task.add_done_callback(self._hiring.discard)

    async def _hire(self) -> None:
        name = next(self._names)
        url = await self._wires.enter_async_context(Wire(name, self._engine.url, self._services, self).open())
        worker = WorkerProcess(self._folder / f"{name}.log")
        await worker.start(name, self._handlers, url, self._services)
        self._workers[name] = worker

    async def _staffed(self) -> None:
        """Wait until all workers ask for jobs. Raises `StartError`."""
        await asyncio.gather(*self._hiring)
        until = time.monotonic() + STARTS_WITHIN
        for worker in list(self._workers.values()):
            while not worker.asked.is_set():
                self._check()
                if time.monotonic() > until:
                    raise StartError(f"a worker has not asked for jobs within {STARTS_WITHIN:g} s: {worker.last_words}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(worker.asked.wait(), LOOK_SECONDS)

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem
        for worker in self._workers.values():
            if worker.ended:
                raise StartError(f"a worker has ended by itself: {worker.last_words}")

    def _answer_for_people(self, instance: Instance) -> None:
        """Complete the user tasks and waits of an instance, with nothing."""
        for step_id in instance.current_step_ids:
            match instance.definition.step(step_id).type:
                case "USER_TASK":
                    self._engine.state.complete_user_task(instance.id, step_id, {})
                case "WAIT":
                    self._engine.state.signal_wait(instance.id, step_id, {})
