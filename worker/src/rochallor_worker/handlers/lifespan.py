"""What handlers use for as long as their worker runs: pools, clients. Opened before the first claim, closed at the end.

@asynccontextmanager
async def lifespan(worker):
    async with create_pool(DSN) as pool:
        yield {"db": pool}
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rochallor_worker.errors import RochallorError, StartError
from rochallor_worker.handlers.failure import traceback_of, where
from rochallor_worker.logger import get_logger

if TYPE_CHECKING:
    from rochallor_worker.engine.client import EngineClient

CANCEL_SECONDS = 1.0
"""How long a lifespan that has not closed in time may take to end once it is cancelled, in seconds."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """The worker that a lifespan is for. `engine` can be called for as long as the lifespan is open."""

    id: str
    job_types: Sequence[str]
    engine: "EngineClient"


Yielded = Mapping[str, Any]
"""What the lifespans of a worker have yielded, by name."""
Lifespan = Callable[[Worker], AbstractAsyncContextManager[Yielded | None]]
NO_STATE: Yielded = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Life:
    """Lifespans that are being opened or are open."""

    state: asyncio.Future[Yielded]
    """Done when all are open. Has a `StartError` if one cannot be opened; cancelled if the worker stops first."""
    ended: asyncio.Task[None]
    """Done when all are closed. Has a `RochallorError` if they have closed before the worker stopped."""


def unfit(lifespan: Lifespan) -> str:
    """Return why a function cannot be a lifespan, or nothing."""
    if inspect.isasyncgenfunction(lifespan):
        return "lacks its decorator: write @asynccontextmanager (from contextlib) above it"
    if inspect.isgeneratorfunction(inspect.unwrap(lifespan)):
        return "is not async: must be an async def with @asynccontextmanager"
    try:
        inspect.signature(lifespan).bind(None)
    except (TypeError, ValueError):
        return "must take one argument, the worker"
    return ""


@asynccontextmanager
async def living(lifespans: Sequence[Lifespan], worker: Worker, seconds: Callable[[], float]) -> AsyncIterator[Life]:
    """Open the lifespans in order, in a task of their own; close them at the end of the block, the last one first.

    `seconds` says, when the block ends, how long closing may take; after that it is cancelled, and then left alone.
    What goes wrong while closing is logged.
    """
    closing = asyncio.Event()
    state: asyncio.Future[Yielded] = asyncio.get_running_loop().create_future()
    # one task opens and closes: a task group or a cancel scope in a lifespan needs that
    ended = asyncio.create_task(_hold(lifespans, worker, state, closing), name="lifespan")
    try:
        yield Life(state, ended)
    finally:
        closing.set()
        if state.cancel():
            ended.cancel()  # the worker stops before it has started
        limit = seconds()
        _, pending = await asyncio.wait({ended}, timeout=limit)
        if pending:
            log.warning("a lifespan has not closed in time, and is cancelled", seconds=round(limit, 3))
            ended.cancel()
            await asyncio.wait({ended}, timeout=CANCEL_SECONDS)


async def _hold(
    lifespans: Sequence[Lifespan], worker: Worker, state: asyncio.Future[Yielded], closing: asyncio.Event
) -> None:
    try:
        async with AsyncExitStack() as stack:
            try:
                opened = await _open(stack, lifespans, worker)
            except StartError as error:
                if not state.done():
                    state.set_exception(error)
                return  # and close those that are open
            if not state.done():
                state.set_result(opened)
            await closing.wait()
    except BaseException as error:  # a SystemExit too, which would end the loop
        if not state.done():
            state.set_exception(StartError(f"a lifespan failed: {where(error)}"))
        elif not closing.is_set() and state.exception() is None:
            raise RochallorError(f"a lifespan has ended while the worker runs: {where(error)}") from error
        elif not isinstance(error, asyncio.CancelledError):
            log.error("a lifespan failed while it closed", error=where(error), exception=traceback_of(error))


async def _open(stack: AsyncExitStack, lifespans: Sequence[Lifespan], worker: Worker) -> Yielded:
    """Enter each lifespan once. Raises `StartError`."""
    state: dict[str, Any] = {}
    for lifespan in dict.fromkeys(lifespans):  # a registry may be included twice
        name = getattr(lifespan, "__qualname__", repr(lifespan))
        try:
            yielded: Any = await stack.enter_async_context(lifespan(worker))
        except (asyncio.CancelledError, StartError):
            raise
        except BaseException as error:
            raise StartError(f"lifespan {name!r} failed: {where(error)}") from error
        if yielded is None:
            continue
        if not (isinstance(yielded, Mapping) and all(isinstance(key, str) for key in yielded)):
            what = type(yielded).__name__
            raise StartError(f"lifespan {name!r} yielded {what}; must be a mapping with names as keys, or nothing")
        if twice := state.keys() & yielded.keys():
            raise StartError(f"lifespan {name!r} yielded {min(twice)!r}, which another lifespan yields too")
        state |= yielded
    return MappingProxyType(state)
