"""Engines for worker tests: the shipped fake on the loop's clock, with answers that can go wrong."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from rochallor_worker.devengine.model import EngineState
from rochallor_worker.engine.fake import FakeEngine

T = TypeVar("T")
Fault = Callable[[str, int], Exception | float | None]
"""(call, how many of that call before) → what happens to its answer: an error, a delay in seconds, or nothing."""


def no_fault(_name: str, _number: int) -> None:
    return None


def loop_time() -> float:
    return asyncio.get_running_loop().time()


class FaultyEngine(FakeEngine):
    """`before` may keep a call from being carried out; `after` may spoil the answer of one that was."""

    def __init__(self, *, before: Fault = no_fault, after: Fault = no_fault, lease: float = 30) -> None:
        super().__init__(EngineState(lease=lease, clock=loop_time))
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

    def times(self, name: str) -> list[float]:
        return [at for called, at in self.calls if called == name]

    @staticmethod
    async def _suffer(fault: Exception | float | None) -> None:
        if isinstance(fault, Exception):
            raise fault
        await asyncio.sleep(fault or 0)


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
