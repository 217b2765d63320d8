"""Engines for worker tests: the shipped fake on the loop's clock, with answers that can go wrong."""

import asyncio
from collections.abc import Callable
from typing import Literal, TypeVar, get_args

from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.execution.gates import Gate, one_pod
from rochallor_worker.handlers.limits import NO_LIMITS, Limits

T = TypeVar("T")
Fault = Callable[[str, int], Exception | float | None]
"""(call, number of earlier calls of its kind) → what happens to it: an error, a delay in seconds, or nothing."""


Fleet = Literal["A", "C", "D", "rolling"]
"""Which engines answer (engine.md, "Generations"): all of one generation, or A and D in turn."""
FLEETS: tuple[Fleet, ...] = get_args(Fleet)


def state_of(fleet: Fleet, lease: float = 30) -> EngineState:
    state = EngineState(
        generation="A" if fleet == "A" else "fenced", heartbeat=fleet != "C", lease=lease, clock=loop_time
    )
    state.rolling = fleet == "rolling"
    return state


def no_fault(_name: str, _number: int) -> None:
    return None


def loop_time() -> float:
    return asyncio.get_running_loop().time()


class FaultyEngine(FakeEngine):
    """`before` may prevent a call; `after` may spoil the answer of one that was carried out."""

    def __init__(
        self,
        *,
        before: Fault = no_fault,
        after: Fault = no_fault,
        lease: float = 30,
        fleet: Fleet = "D",
    ) -> None:
        super().__init__(state_of(fleet, lease))
        self.before = before
        self.after = after
        self.calls: list[tuple[str, float]] = []

    async def call(self, name: str, action: Callable[[], T]) -> T:
        number = self.count(name)
        self.calls.append((name, loop_time()))
        await self._suffer(self.before(name, number))
        answer = await super().call(name, action)
        await self._suffer(self.after(name, number))
        return answer

    def count(self, name: str) -> int:
        return sum(called == name for called, _ in self.calls)

    def retries_remaining(self) -> int:
        """The retries left of the only job; of its last attempt, where each attempt is a row of its own."""
        return list(self.state.jobs.values())[-1].retries_remaining

    def times(self, name: str) -> list[float]:
        return [at for called, at in self.calls if called == name]

    @staticmethod
    async def _suffer(fault: Exception | float | None) -> None:
        if isinstance(fault, Exception):
            raise fault
        await asyncio.sleep(fault or 0)


def gates_of(*job_types: str, limits: Limits = NO_LIMITS) -> dict[str, Gate]:
    """The gates of these types, on the loop's clock."""
    return {job_type: Gate(job_type, limits, loop_time, one_pod) for job_type in job_types}


def unused(_count: int) -> None:
    """For a source whose slots nobody counts."""


def definition(*job_types: str, retries: int = 0) -> dict[str, object]:
    """A definition with one SERVICE_TASK step per job type, in a row."""
    steps: list[dict[str, object]] = [
        {
            "id": f"step-{number}",
            "name": job_type,
            "type": "SERVICE_TASK",
            "jobType": job_type,
            "retryCount": retries,
            "nextStep": f"step-{number + 1}",
        }
        for number, job_type in enumerate(job_types)
    ]
    return {"id": "d", "name": "d", "steps": [*steps, {"id": f"step-{len(job_types)}", "name": "end", "type": "END"}]}
