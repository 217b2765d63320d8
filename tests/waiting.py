"""Waiting for what no event tells, though never without an end, and child processes, which no test leaves behind."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Callable


async def until(condition: Callable[[], object], within: float = 90, every: float = 0.01) -> None:
    """Wait until something is so. Raises TimeoutError when it is not within so many seconds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 — that it has no event is why this is here
            await asyncio.sleep(every)


def wait_until(condition: Callable[[], object], within: float = 90, every: float = 0.05) -> None:
    """The same without an event loop."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} was not so within {within:g} s")
        time.sleep(every)


@asynccontextmanager
async def child(*command: str, **options: Any) -> AsyncIterator[Process]:
    """A child process, killed at the end of the block if it still runs. Options are those of asyncio's subprocesses."""
    process = await asyncio.create_subprocess_exec(*command, **options)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # its pipes outlive it by a moment
