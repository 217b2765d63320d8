"""Faults: what can go wrong with a call, for tests of whoever calls the engine.

engine.faults.next("complete_job", Fault(answer="lost"))     the next complete is carried out, its answer lost
engine.faults.always("poll_jobs", Fault(delay_after=5))      each poll is answered 5 s after it was carried out
engine.faults.clear()                                        all is well again
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from rochallor_worker.devengine.errors import CallError, InternalError

T = TypeVar("T")
Action = Callable[[], T | Generator[None, None, T]]
"""A call carried out. One that reads and writes in two steps is a generator that yields between them."""

CallName = Literal[
    "upload_definition",
    "get_definition",
    "list_definitions",
    "start_instance",
    "get_instance",
    "list_instances",
    "get_instance_history",
    "cancel_instance",
    "poll_jobs",
    "complete_job",
    "fail_job",
    "complete_user_task",
    "signal_wait",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one call. Times in seconds."""

    times: int = 1
    """How often it is carried out: 0 is a request that never gets there, 2 one that arrives twice."""
    answer: Literal["given", "lost", "error"] = "given"
    """Lost: the connection is closed (gRPC: UNAVAILABLE). Error: 500 (gRPC: INTERNAL)."""
    delay_before: float = 0.0
    """Time until it is carried out."""
    delay_after: float = 0.0
    """Time from then until its answer."""
    apart: float = 0.0
    """Time between what a complete reads and what it writes: another one meanwhile moves the instance on as well."""


class AnswerDropped(Exception):  # noqa: N818 — not an answer of the engine: the transport closes the connection
    """The answer of this call is to be lost."""


class Faults:
    """The faults to come, per kind of call. `calls` counts the calls received."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._next: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._running: set[asyncio.Task[Any]] = set()

    def next(self, call: CallName, *faults: Fault) -> None:
        """Give each of the next calls of a kind one of these faults, in order."""
        self._next.setdefault(call, deque()).extend(faults)

    def always(self, call: CallName, fault: Fault) -> None:
        """Give every call of a kind this fault, once those of `next` are used up."""
        self._always[call] = fault

    def clear(self) -> None:
        """Forget all faults."""
        self._next.clear()
        self._always.clear()

    async def carry_out(self, call: str, action: Action[T]) -> T:
        """Carry out a call with its fault, if it has one. Raises `CallError` or `AnswerDropped`."""
        self.calls[call] += 1
        queue = self._next.get(call)
        fault = queue.popleft() if queue else self._always.get(call)
        if fault is None:
            return await _stepwise(action, 0)
        task = asyncio.create_task(_suffer(fault, action), name=f"{call} with a fault")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)  # a caller that gives up does not stop what it asked for

    def abandon(self) -> None:
        """Stop the calls that wait in a delay, as the end of the engine's process would."""
        for task in self._running:
            task.cancel()


async def _suffer(fault: Fault, action: Action[T]) -> T:
    await asyncio.sleep(fault.delay_before)
    outcome: T | CallError | None = None
    for _ in range(fault.times):
        try:
            outcome = await _stepwise(action, fault.apart)
        except CallError as error:
            outcome = error
    await asyncio.sleep(fault.delay_after)
    if fault.answer == "error":
        raise InternalError("a fault was asked for")
    if fault.answer == "lost" or not fault.times:
        raise AnswerDropped
    if isinstance(outcome, CallError):
        raise outcome
    return cast("T", outcome)


async def _stepwise(action: Action[T], apart: float) -> T:
    """Carry out an action; wait `apart` seconds between its steps."""
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
