"""(handler, job) → outcome. Whatever a handler does, an outcome comes back; only the worker's own stop interrupts."""

import asyncio
import contextlib
import contextvars
import json
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import structlog

from rochallor_worker.errors import NonRetryableError
from rochallor_worker.job import Job, cancel
from rochallor_worker.outcome import Completed, Failed, Outcome
from rochallor_worker.registry import Handler

MAX_RESULT_BYTES = 4 * 1024 * 1024
"""Largest result as JSON: a gRPC server refuses larger messages by default."""
MAX_MESSAGE_CHARS = 2000
"""Longest failure text sent to the engine; the log has the whole of it."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


async def execute(
    handler: Handler,
    job: Job,
    threads: Executor,
    on_timeout: Callable[[], None],
    timeout: float | None,
    stopping: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Run the handler and decide the outcome.

    `timeout` is in seconds. An async handler is cancelled at it; a sync handler cannot be: `job.cancelled` turns true,
    and what it does in the end counts (a late success is still a success). Raises `asyncio.CancelledError` only when
    the calling task is cancelled while `stopping`; else its handler did that, which is an error like any other.
    """
    try:
        run = _run_async if handler.is_async else _run_in_thread
        return _outcome_of(await run(handler, job, threads, on_timeout, timeout))
    except _HandlerTimeout:
        return Failed(f"handler timed out after {timeout:.3g} s", retryable=True)
    except NonRetryableError as error:
        return Failed(_describe(error), retryable=False)
    except BaseException as error:  # a handler may raise SystemExit too, which must not stop the worker
        if isinstance(error, asyncio.CancelledError) and _cancelled() and stopping():
            raise
        _log(job, error)
        return Failed(_describe(error), retryable=True)
    finally:
        if _cancelled() and not stopping():
            await _go_on()


class _HandlerTimeout(Exception):  # noqa: N818
    """Ours, as a handler may raise TimeoutError itself."""


async def _run_async(
    handler: Handler, job: Job, _threads: Executor, on_timeout: Callable[[], None], timeout: float | None
) -> Any:
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            return await handler.function(job)
    except TimeoutError as error:
        if not scope.expired():
            raise
        on_timeout()
        raise _HandlerTimeout from error


async def _run_in_thread(
    handler: Handler, job: Job, threads: Executor, on_timeout: Callable[[], None], timeout: float | None
) -> Any:
    loop = asyncio.get_running_loop()
    running: asyncio.Future[Any] = loop.create_future()

    def call() -> None:
        result = _guarded(handler.function, job)
        loop.call_soon_threadsafe(running.set_result, result)

    # not run_in_executor, whose second future on top of the executor's costs more than the hand-over itself
    threads.submit(contextvars.copy_context().run, call)
    try:
        done, _ = await asyncio.wait({running}, timeout=timeout)
    except asyncio.CancelledError:
        cancel(job)
        raise
    if not done:
        cancel(job)
        on_timeout()
        started = time.monotonic()
        log.warning("a sync handler is past its timeout and keeps its slot", job_id=job.id, job_type=job.job_type)
        await asyncio.wait({running})
        job.log.warning("the late sync handler ended", late_seconds=round(time.monotonic() - started, 1))
    result = running.result()
    if isinstance(result, BaseException):
        raise result
    return result


def _guarded(function: Callable[[Job], Any], job: Job) -> Any:
    """Return what the handler raised: a StopIteration cannot be raised into a future, a SystemExit must not."""
    try:
        return function(job)
    except BaseException as error:  # noqa: BLE001 — raised again in the loop
        return error


def _outcome_of(result: Any) -> Outcome:
    if result is None:
        return Completed({})
    if not isinstance(result, Mapping):
        return Failed(f"the handler returned {type(result).__name__}; must be a mapping or None", retryable=False)
    try:
        # the standard encoder, since it alone refuses what is not JSON (NaN, sets) instead of changing it
        encoded = json.dumps(dict(result), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        return Failed(f"the handler's result is not JSON: {_describe(error)}", retryable=False)
    if len(encoded) > MAX_RESULT_BYTES:
        return Failed(
            f"the handler's result is {len(encoded):,} bytes of JSON; the limit is {MAX_RESULT_BYTES:,}",
            retryable=False,
        )
    # read back, so that what is decided is plain JSON: not an object of the handler's that changes or raises later
    return Completed(json.loads(encoded))


def _log(job: Job, error: BaseException) -> None:
    try:
        # as text, since a logger that is not ours may print local variables too, and secrets with them
        job.log.warning("the handler raised", exception="".join(traceback.format_exception(error)))
    except BaseException:  # noqa: BLE001 — an error that raises when it is looked at costs its traceback, not its job
        job.log.warning("the handler raised what cannot be logged", error=_describe(error))


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
        whole = f"{name}: {text}" if text else name
    except BaseException:  # noqa: BLE001 — an exception whose own __str__ raises, SystemExit perhaps
        whole = f"{name}: (its text cannot be read)"
    # half of a surrogate pair (a file name can hold one) cannot be sent, and a NUL not be stored by PostgreSQL: a fail
    # that does not get through never ends
    return whole.encode(errors="replace").decode().replace("\0", "?")[:MAX_MESSAGE_CHARS]


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _go_on() -> None:
    """Take back the cancellation of this task, so that the outcome can still be delivered."""
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass
    with contextlib.suppress(asyncio.CancelledError):  # one that was not raised yet is raised now
        await asyncio.sleep(0)
