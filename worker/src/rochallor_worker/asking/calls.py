"""Many calls to the engine at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

CONCURRENT_CALLS = 16

T = TypeVar("T")
R = TypeVar("R")


async def each(call: Callable[[T], Awaitable[R]], arguments: Iterable[T]) -> list[R]:
    """Make the calls, `CONCURRENT_CALLS` at a time; return their results in order. Raises the first error."""
    free = asyncio.Semaphore(CONCURRENT_CALLS)

    async def one(argument: T) -> R:
        async with free:
            return await call(argument)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(argument)) for argument in arguments]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
