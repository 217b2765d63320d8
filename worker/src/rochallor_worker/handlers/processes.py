"""Runs handlers in child processes, which can be killed and may crash without harm to anything else.

No library does this. Those that kill a running task (pebble) start all children at once, give a task a fixed time,
while ours moves with a lease, and cannot let it log or ask; a pool of `concurrent.futures` or loky breaks with the
first child that dies. asyncio starts children and sees them end; what is left to do is to hand them jobs.
"""

import asyncio
import contextlib
import json
import logging
import os
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

from rochallor_worker.errors import RochallorError
from rochallor_worker.handlers.cgroup import cpu_limit, memory_limit
from rochallor_worker.handlers.child import HEADER_BYTES, Reply, Run, Setup
from rochallor_worker.handlers.failure import ChildError, describe
from rochallor_worker.handlers.postpone import Postpone
from rochallor_worker.job import Job
from rochallor_worker.logger import Logger, get_logger
from rochallor_worker.registry import Handler
from rochallor_worker.traces import Active, traceparent

TERM_SECONDS = 2.0
"""How long a child may take to end after SIGTERM, before SIGKILL."""
LAST_WORDS_SECONDS = 0.1
"""How long the pipe of a child that has died is still read, where a process that it started keeps it open."""
REAP_SECONDS = 0.5
"""How long after its end the processes that a child had started are reaped."""
JOB_FIELDS = ("id", "instance_id", "step_execution_id", "job_type", "variables", "retries_remaining", "attempt")
"""What a child is told about its job."""
WORKER_BYTES = 128 * 1024**2
"""What is left to the worker itself of the pod's memory limit."""
MIN_BYTES = 64 * 1024**2
"""What a child may use at least, however small the pod is: Python and the handler's module need it."""
GROWN = 0.75
"""Which part of its memory a child may still hold after a job without being replaced."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Longest line from a child: more means that it has broken its memory."""
_START = "import sys; sys.path[:] = sys.argv[1:]; from rochallor_worker.handlers.child import main; main()"

log = get_logger(__name__)


class Processes:
    """Child processes for handlers, at most `limit` (default: the CPU limit of the pod); they start when needed.

    A child runs one job at a time, and is replaced after `jobs` jobs. A handler that would use more than `memory` bytes
    gets a `MemoryError`; the default leaves `WORKER_BYTES` of the pod's memory limit to the worker and shares the rest,
    so that no handler makes Kubernetes end the pod. A child that still holds most of it after a job is replaced too.
    `prepare`, a function that can be pickled, is called in each new child.
    """

    def __init__(
        self,
        limit: int | None = None,
        *,
        jobs: int = 1000,
        memory: int | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.limit = limit or cpu_limit()
        self._jobs = jobs
        self.memory = memory or share_of_memory(self.limit)
        self._prepare = prepare
        self._room = asyncio.Semaphore(self.limit)
        self._idle: list[_Child] = []
        self._children: set[_Child] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def call(self, handler: Handler, job: Job) -> Mapping[str, Any]:
        """Run the handler in a child, once there is room for one; return its result as JSON values.

        Raises `ChildError` when the handler raises or its process dies, and `Postpone` as the handler does. A
        cancellation ends the child, and takes effect when it has ended: what runs after it never runs beside the
        handler.
        """
        async with self._room:
            child = self._idle_child() or await self._start()
            try:
                answer = await child.run(handler, job)
            except BaseException:
                await asyncio.shield(self._end(child))
                raise
            if child.jobs < self._jobs and (self.memory is None or answer["memory"] <= GROWN * self.memory):
                self._idle.append(child)
            else:
                self._end(child)
        if (after := answer.get("postponed")) is not None:
            raise Postpone(answer["message"], after=after)
        if (message := answer.get("failed")) is not None:
            raise ChildError(message, permanent=not answer["retryable"], trace=answer["trace"])
        result: Mapping[str, Any] = answer["result"]
        return result

    async def aclose(self) -> None:
        """End all children; returns when they have ended."""
        for child in self._children:
            self._end(child)
        if self._ending:
            await asyncio.wait(self._ending)

    def _idle_child(self) -> "_Child | None":
        while self._idle:
            if (child := self._idle.pop()).lives:
                return child
        return None

    async def _start(self) -> "_Child":
        loop = asyncio.get_running_loop()
        arguments = (sys.executable, "-c", _START, *sys.path)
        try:
            _, child = await loop.subprocess_exec(_Child, *arguments, stderr=None, start_new_session=True)
        except OSError as error:
            raise ChildError(f"no process could be started for the handler: {error}") from error
        self._children.add(child)
        child.closed.add_done_callback(lambda _: self._children.discard(child))
        child.send(Setup(logging.getLogger().getEffectiveLevel(), self.memory, self._prepare))
        return child

    def _end(self, child: "_Child") -> asyncio.Task[None]:
        task = asyncio.create_task(child.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task


class _Child(asyncio.SubprocessProtocol):
    """One child process, leader of a group of its own: what a handler has started ends with it."""

    _process: asyncio.SubprocessTransport

    def __init__(self) -> None:
        self.jobs = 0
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._silent = False
        self._killed_because = ""
        self._job: Job | None = None
        self._traceparent = ""
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._buffer = bytearray()
        self._replying: set[asyncio.Task[None]] = set()

    @property
    def lives(self) -> bool:
        """Whether the process runs, as far as can be known: the loop hears of an end a moment after it."""
        if self.exited.done():
            return False
        try:
            os.kill(self._process.get_pid(), 0)
        except OSError:
            return False
        return True

    async def run(self, handler: Handler, job: Job) -> dict[str, Any]:
        """Run a handler; return the child's answer. Raises `ChildError` if the process ends first."""
        self.jobs += 1
        self._job, self._answer = job, asyncio.get_running_loop().create_future()
        self._traceparent = traceparent()
        fields = {name: getattr(job, name) for name in JOB_FIELDS}
        function = handler.function
        self.send(Run(function.__module__, function.__qualname__, fields, handler.non_retryable, self._traceparent))
        if self.closed.done():
            self._close()
        try:
            return await self._answer
        finally:
            self._job = self._answer = None

    def send(self, request: Setup | Run | Reply) -> None:
        """Send one request."""
        data = pickle.dumps(request)
        pipe = cast("asyncio.WriteTransport", self._process.get_pipe_transport(0))
        pipe.write(len(data).to_bytes(HEADER_BYTES, "big") + data)

    async def end(self) -> None:
        """End the process, and what it has started: SIGTERM, then SIGKILL."""
        self._signal(signal.SIGTERM)
        await asyncio.wait({self.exited}, timeout=TERM_SECONDS)
        self._signal(signal.SIGKILL)
        await self.closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop: the process has started."""
        self._process = cast("asyncio.SubprocessTransport", transport)  # uvloop's are no subclasses

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Called by the loop: the child has written."""
        self._buffer += data
        if b"\n" not in data and len(self._buffer) < MAX_ANSWER_BYTES:
            return
        *lines, self._buffer = self._buffer.split(b"\n")
        try:
            for line in lines or [self._buffer]:
                self._received(json.loads(line))
        except Exception as error:  # noqa: BLE001 — whatever a broken process has written
            log.warning("a handler's process wrote what is no answer, and is killed", error=describe(error))
            self._buffer.clear()
            self._kill("the handler's process was killed: it wrote what is no answer into its pipe")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Called by the loop: the child has closed a pipe, or ended."""
        if fd == 1:
            self._silent = True
            because = "the handler's process was killed: it closed its pipe, and could answer no more"
            asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._kill, because)  # unless it is just ending
            self._close_if_over()

    def process_exited(self) -> None:
        """Called by the loop: the process has ended; its last words may still be in the pipe."""
        self.exited.set_result(None)
        group = self._process.get_pid()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
            asyncio.get_running_loop().call_later(REAP_SECONDS, _reap, group)
        self._close_if_over()
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._close)

    def _close_if_over(self) -> None:
        if self.exited.done() and self._silent:
            self._close()

    def _close(self) -> None:
        if self._answer is not None and not self._answer.done():
            cause = _cause_of_death(self._process.get_returncode() or 0)
            self._answer.set_exception(ChildError(self._killed_because or cause))
        self._process.close()
        if not self.closed.done():
            self.closed.set_result(None)

    def _kill(self, because: str) -> None:
        if not self.exited.done():
            self._killed_because = self._killed_because or because
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.get_pid(), number)

    def _received(self, answer: dict[str, Any]) -> None:
        if (name := answer.get("log")) is not None:
            more = {"exception": answer["exception"]} if answer["exception"] else {}
            with Active(""):  # its keys have the trace: here is still that of the job for which the child was started
                Logger(logging.getLogger(name), {**answer["keys"], **more}).log(answer["level"], answer["text"])
        elif (question := answer.get("ask")) is not None:
            task = asyncio.create_task(self._reply(question))
            self._replying.add(task)
            task.add_done_callback(self._replying.discard)
        elif self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    async def _reply(self, question: str) -> None:
        """Answer a question of the running handler."""
        job = self._job
        try:
            if job is None:  # a thread that the handler has left behind asks
                raise RochallorError("the job has ended")
            with Active(self._traceparent):
                reply = Reply(job.deadline if question == "deadline" else await job.instance())
        except Exception as error:  # noqa: BLE001 — the child waits, and raises it
            reply = Reply(None, error if isinstance(error, RochallorError) else RochallorError(describe(error)))
        if not self.exited.done():
            self.send(reply)


def share_of_memory(children: int) -> int | None:
    """Return the bytes that each of so many children may use in this pod; None where it has no memory limit."""
    limit = memory_limit()
    return None if limit is None else max(MIN_BYTES, (limit - WORKER_BYTES) // children)


def _cause_of_death(returncode: int) -> str:
    if returncode >= 0:
        return f"the handler's process ended with exit code {returncode} before the handler returned"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    why = ", probably because memory ran out" if name == "SIGKILL" else ""
    return f"the handler's process was killed by {name}{why}"


def _reap(group: int) -> None:
    """Reap what a child had started: the first process of a container inherits it."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
