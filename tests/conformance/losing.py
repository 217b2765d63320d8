"""Clients that lose or delay calls on their way to a healthy engine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from rochallor_worker.errors import AnswerLost, NotSupported, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from rochallor_worker.engine.client import EngineClient


class _Around:
    """Passes all calls on."""

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


class _Losing(_Around):
    def __init__(self, engine: EngineClient) -> None:
        super().__init__(engine)
        self._completes = 0

    async def complete_job(self, job_id: str, worker_id: str, variables: Mapping[str, Any]) -> None:
        self._completes += 1
        if self._completes == 1:
            raise Unreachable("it was lost on its way")
        await self._engine.complete_job(job_id, worker_id, variables)
        if self._completes == 2:
            raise AnswerLost("the answer was lost")


class _Late(_Around):
    def __init__(self, engine: EngineClient, seconds: float) -> None:
        super().__init__(engine)
        self._seconds = seconds

    async def complete_job(self, job_id: str, worker_id: str, variables: Mapping[str, Any]) -> None:
        seconds, self._seconds = self._seconds, 0.0
        await asyncio.sleep(seconds)
        await self._engine.complete_job(job_id, worker_id, variables)

    async def extend_lease(self, _job_id: str, _worker_id: str, _lease: float) -> datetime:
        raise NotSupported("ExtendJobLease: not here")


def losing(engine: EngineClient) -> EngineClient:
    """Lose the first Complete on its way, and the answer to the second."""
    return cast("EngineClient", _Losing(engine))


def late(engine: EngineClient, seconds: float) -> EngineClient:
    """Hold back the first Complete, and renew no leases meanwhile."""
    return cast("EngineClient", _Late(engine, seconds))
