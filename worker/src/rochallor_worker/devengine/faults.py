"""Fault injection: what can go wrong with a call, for tests of clients and workers.

engine.faults.next("complete_job", Fault(answer="lost"))     the next complete is executed, its answer lost
engine.faults.always("poll_jobs", Fault(delay_after=5))      each poll is answered 5 s after it was executed
engine.faults.clear()                                        no more faults
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from rochallor_worker.devengine.errors import CallError, InternalError

T = TypeVar("T")
Action = Callable[[], T | Generator[None, None, T]]
"""Executes a call. One that reads and writes in two steps is a generator that yields between them."""

CallName = Literal[
    "upload_definition",
    "get_definition",
    "list_definitions",
    "start_instance",
    "get_instance",
    "list_instances",
    "get_instance_history",
    "cancel_instance",
    "retry_step",
    "poll_jobs",
    "complete_job",
    "fail_job",
    "extend_lease",
    "complete_user_task",
    "signal_wait",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one call. Times in seconds."""

    times: int = 1
    """How often it is executed: 0 is a request that never arrives, 2 one that arrives twice."""
    answer: Literal["given", "lost", "error"] = "given"
    """Lost: the connection is closed (gRPC: UNAVAILABLE). Error: 500 (gRPC: INTERNAL)."""
    delay_before: float = 0.0
    """Time until it is executed."""
    delay_after: float = 0.0
    """Time from then until the answer."""
    apart: float = 0.0
    """Time between the read and the write of a complete: a second complete in between moves the instance on too.
    Fenced engines do both at once."""


class AnswerDropped(Exception):  # noqa: N818 — not the engine's error: the transport closes the connection
    """The answer to this call must be dropped."""


class Faults:
    """The coming faults, by call. `calls` counts the calls received; `executed` runs after each, before its answer."""

    def __init__(self, executed: Callable[[], None] = lambda: None) -> None:
        self._executed = executed
        self.calls: Counter[str] = Counter()
        self._next: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._running: set[asyncio.Task[Any]] = set()

    def next(self, call: CallName, *faults: Fault) -> None:
        """Apply these faults to the next calls of this name, one each, in order."""
        self._next.setdefault(call, deque()).extend(faults)

    def always(self, call: CallName, fault: Fault) -> None:
        """Apply this fault to every call of this name, once those of `next` are used up."""
        self._always[call] = fault

    def clear(self) -> None:
        """Remove all faults."""
        self._next.clear()
        self._always.clear()

    async def carry_out(self, call: str, action: Action[T]) -> T:
        """Execute a call with its fault, if there is one. Raises `CallError` or `AnswerDropped`."""
        self.calls[call] += 1
        queue = self._next.get(call)
        fault = queue.popleft() if queue else self._always.get(call)
        try:
            if fault is None:
                return await _stepwise(action, 0)
            task = asyncio.create_task(_execute_with(fault, action), name=f"{call} with a fault")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            return await asyncio.shield(task)  # a caller that gives up does not stop the call
        finally:
            self._executed()

    def abandon(self) -> None:
        """Stop the calls that are in a delay, as the end of the engine's process would."""
        for task in self._running:
            task.cancel()


async def _execute_with(fault: Fault, action: Action[T]) -> T:
    await asyncio.sleep(fault.delay_before)
    answer: T | CallError | None = None
    for _ in range(fault.times):
        try:
            answer = await _stepwise(action, fault.apart)
        except CallError as error:
            answer = error
    await asyncio.sleep(fault.delay_after)
    if fault.answer == "error":
        raise InternalError("injected fault")
    if fault.answer == "lost" or not fault.times:
        raise AnswerDropped
    if isinstance(answer, CallError):
        raise answer
    return cast("T", answer)


async def _stepwise(action: Action[T], apart: float) -> T:
    """Execute an action; wait `apart` seconds between its steps."""
    result = action()
    if not isinstance(result, Generator):
        return result
    try:
        while True:
            next(result)
            if apart:
                await asyncio.sleep(apart)
    except StopIteration as end:
        answer: T = end.value
        return answer
