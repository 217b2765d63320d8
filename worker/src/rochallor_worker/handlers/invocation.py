"""(handler, job) → outcome. Whatever a handler does, there is an outcome; only the worker's own stop interrupts."""

import asyncio
import contextlib
import contextvars
import inspect
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

from rochallor_worker.execution.limit import Limit
from rochallor_worker.handlers.failure import describe, permanent, postponement, traceback_of
from rochallor_worker.handlers.lifespan import NO_STATE
from rochallor_worker.handlers.middleware import Call, through
from rochallor_worker.handlers.postpone import Postpone
from rochallor_worker.handlers.results import outcome_of
from rochallor_worker.job import Job, cancel, log_keys
from rochallor_worker.logger import InJob, get_logger
from rochallor_worker.outcome import Failed, Outcome, Postponed
from rochallor_worker.registry import Handler

if TYPE_CHECKING:
    from rochallor_worker.handlers.processes import Processes

log = get_logger(__name__)


async def invoke(
    handler: Handler,
    job: Job,
    threads: Executor,
    limit: Limit,
    cut_off: Callable[[], bool] = lambda: True,
    state: Mapping[str, Any] = NO_STATE,
    processes: "Processes | None" = None,
) -> Outcome | Postponed | None:
    """Invoke the handler and decide the outcome; None if the engine took the job away meanwhile and there is no result.

    At its limit an async handler is cancelled; a sync handler cannot be: `job.cancelled` turns true, and how it ends
    counts (a late success is still a success). Whatever a handler raises while it is being interrupted is its clean-up
    and not why it failed. Raises `asyncio.CancelledError` only when the calling task is cancelled after `cut_off`;
    before that the handler has cancelled it, which is an error like any other. `state` is what the lifespans have
    yielded, for the handler and its middleware.

    A handler in a process is ended at its limit; `processes` are needed for such handlers only.
    """
    outcome: Outcome | Postponed
    try:
        run = _run_of(handler, job, threads, limit, cut_off, state, processes)
        with InJob(log_keys(job)):
            outcome = outcome_of(await run(), handler.signature)
    except BaseException as error:  # a handler may raise SystemExit too, which must not stop the worker
        if _cancelled() and cut_off():
            raise asyncio.CancelledError from error
        if limit.lost and limit.reached:
            return None
        if limit.reached:
            outcome = Failed(limit.message, retryable=True)
        elif (wish := postponement(error, handler.non_retryable)) is not None:
            outcome = Postponed(wish.after, wish.message)
        else:
            kinds = handler.non_retryable
            retryable = not permanent(error, kinds)
            outcome = Failed(describe(error, kinds), retryable, traceback_of(error) if retryable else "")
    finally:
        if _cancelled() and not cut_off():
            await _undo_cancellation()
    return outcome


def _run_of(
    handler: Handler,
    job: Job,
    threads: Executor,
    limit: Limit,
    cut_off: Callable[[], bool],
    state: Mapping[str, Any],
    processes: "Processes | None",
) -> Call:
    """Return what runs the handler where it belongs, with its middleware around it."""
    run: Call
    if handler.executor == "process":
        run = partial(_run_in_process, handler, job, processes, limit)
    else:
        signature = handler.signature
        function = handler.function if signature is None else signature.bound(handler.function, state)
        if handler.is_async:
            run = partial(_within, limit, partial(function, job))
        else:
            timed = (lambda: not cut_off()) if handler.middleware else _never
            run = partial(_run_in_thread, function, job, threads, limit, timed)
    return partial(_within, limit, through(handler.middleware, job, state, run)) if handler.middleware else run


def _never() -> bool:
    return False


def log_failed(job: Job, outcome: Failed) -> None:
    """Log one line for each failed run that is reported; as an error where the instance fails with it."""
    more: dict[str, Any] = {"exception": outcome.trace} if outcome.trace else {}
    if outcome.retryable and job.retries_remaining > 0:
        retries = job.retries_remaining
        job.log.warning("a run failed; the job is retried", error=outcome.message, retries_remaining=retries, **more)
    else:
        job.log.error("a run failed; the job fails permanently", error=outcome.message, **more)


async def _within(limit: Limit, call: Call) -> Any:
    with limit.watched() as scope:
        async with scope:
            return await call()


async def _run_in_process(handler: Handler, job: Job, processes: "Processes | None", limit: Limit) -> Any:
    if processes is None:
        raise RuntimeError(f"job type {handler.job_type!r} runs in a process, and there are none here")
    return await _within(limit, partial(processes.call, handler, job))


async def _run_in_thread(
    function: Callable[[Job], Any], job: Job, threads: Executor, limit: Limit, timed: Callable[[], bool]
) -> Any:
    loop = asyncio.get_running_loop()
    running: asyncio.Future[Any] = loop.create_future()

    def call() -> None:
        result = _guarded(function, job)
        loop.call_soon_threadsafe(running.set_result, result)

    # not run_in_executor: its second future costs more than the hand-over itself
    queued = threads.submit(contextvars.copy_context().run, call)
    try:
        with contextlib.suppress(TimeoutError), limit.watched() as scope:
            async with scope:
                await asyncio.wait({running})
        if not running.done():
            cancel(job)
            if queued.cancel():  # it has waited for a thread all the time, which is no failure
                limit.reached = limit.lost
                raise Postpone("no thread became free", after=0)
            await _late(running, job)
    except asyncio.CancelledError:
        cancel(job)
        if timed():  # by a time limit of middleware, which ends no thread either
            await _late(running, job)
        raise
    limit.reached = limit.lost  # how a sync handler ends counts
    result = running.result()
    if isinstance(result, BaseException):
        raise result
    if inspect.isawaitable(result):  # an async function behind a sync decorator
        return await _within(limit, lambda: result)
    return result


async def _late(running: asyncio.Future[Any], job: Job) -> None:
    started = time.monotonic()
    log.warning("a sync handler is past its limit and keeps its slot", job_id=job.id, job_type=job.job_type)
    await asyncio.wait({running})
    job.log.warning("the late sync handler ended", late_seconds=round(time.monotonic() - started, 1))


def _guarded(function: Callable[[Job], Any], job: Job) -> Any:
    """Return what the handler raised: a future cannot raise a StopIteration, and must not raise a SystemExit."""
    try:
        return function(job)
    except BaseException as error:  # noqa: BLE001 — raised again on the loop
        return error


def _cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _undo_cancellation() -> None:
    """Undo the cancellation of this task, so that the outcome can still be reported."""
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass
    with contextlib.suppress(asyncio.CancelledError):  # raises one that was not raised yet
        await asyncio.sleep(0)
