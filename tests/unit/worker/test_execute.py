import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

from rochallor_worker import Instance, Job, NonRetryableError
from rochallor_worker.execute import MAX_MESSAGE_CHARS, MAX_RESULT_BYTES, execute
from rochallor_worker.outcome import Completed, Failed, Outcome
from rochallor_worker.registry import Handler


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


async def _no_instance(instance_id: str) -> Instance:
    raise AssertionError(f"instance {instance_id} was fetched")


def make_job() -> Job:
    return Job(
        id="j",
        instance_id="i",
        step_execution_id="s",
        job_type="t",
        variables={},
        retries_remaining=0,
        deadline=math.inf,
        _fetch_instance=_no_instance,
    )


async def run(function: Callable[[Job], Any], threads: ThreadPoolExecutor, timeout: float | None = None) -> Outcome:
    handler = Handler("t", function, None, asyncio.iscoroutinefunction(function))
    return await execute(handler, make_job(), threads, lambda: None, timeout)


def returning(result: Any) -> Callable[[Job], Any]:
    return lambda _: result


def raising(error: BaseException) -> Callable[[Job], Any]:
    def handler(_: Job) -> None:
        raise error

    return handler


def in_coroutine(function: Callable[[Job], Any]) -> Callable[[Job], Any]:
    async def handler(job: Job) -> Any:
        return function(job)

    return handler


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("wrap", [in_coroutine, lambda function: function], ids=["async", "sync"])
@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        (returning(None), Completed({})),
        (returning({"a": [1, {"b": None}]}), Completed({"a": [1, {"b": None}]})),
        (raising(ValueError("no such card")), Failed("ValueError: no such card", retryable=True)),
        (raising(NonRetryableError("no amount")), Failed("NonRetryableError: no amount", retryable=False)),
        (raising(TimeoutError()), Failed("TimeoutError", retryable=True)),
        (raising(SystemExit(3)), Failed("SystemExit: 3", retryable=True)),
        (raising(KeyboardInterrupt()), Failed("KeyboardInterrupt", retryable=True)),
        (raising(asyncio.CancelledError()), Failed("CancelledError", retryable=True)),
        (raising(Unprintable()), Failed("Unprintable: (its text cannot be read)", retryable=True)),
        (raising(ValueError("file \udcff")), Failed("ValueError: file ?", retryable=True)),
        (returning(5), Failed("the handler returned int; must be a mapping or None", retryable=False)),
        (returning([]), Failed("the handler returned list; must be a mapping or None", retryable=False)),
    ],
)
async def test_each_end_of_a_handler_is_an_outcome(
    wrap: Callable[[Callable[[Job], Any]], Callable[[Job], Any]],
    function: Callable[[Job], Any],
    outcome: Outcome,
    threads: ThreadPoolExecutor,
) -> None:
    assert await run(wrap(function), threads) == outcome


class Endless(dict[str, Any]):
    def __init__(self) -> None:
        super().__init__()
        self["self"] = self


@pytest.mark.parametrize(
    "result",
    [{"x": math.nan}, {"x": {1, 2}}, {"x": b"bytes"}, {"x": object()}, Endless()],
    ids=["NaN", "set", "bytes", "object", "endless"],
)
async def test_a_result_that_is_not_json_is_a_final_failure(result: Any, threads: ThreadPoolExecutor) -> None:
    outcome = await run(returning(result), threads)
    assert isinstance(outcome, Failed)
    assert not outcome.retryable
    assert outcome.message.startswith("the handler's result is not JSON: ")


async def test_a_huge_result_is_a_final_failure_that_says_how_huge(threads: ThreadPoolExecutor) -> None:
    outcome = await run(returning({"x": "a" * MAX_RESULT_BYTES}), threads)
    assert outcome == Failed("the handler's result is 4,194,313 bytes of JSON; the limit is 4,194,304", retryable=False)


async def test_a_long_error_is_cut(threads: ThreadPoolExecutor) -> None:
    outcome = await run(raising(ValueError("x" * 10_000)), threads)
    assert isinstance(outcome, Failed)
    assert len(outcome.message) == MAX_MESSAGE_CHARS


@pytest.mark.looptime
async def test_an_async_handler_is_cancelled_at_its_timeout(threads: ThreadPoolExecutor) -> None:
    cancelled = asyncio.Event()

    async def handler(_: Job) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    assert await run(handler, threads, 10) == Failed("handler timed out after 10 s", retryable=True)
    assert cancelled.is_set()
    assert asyncio.get_running_loop().time() == pytest.approx(10)


@pytest.mark.looptime
async def test_a_success_despite_the_cancellation_is_a_success(threads: ThreadPoolExecutor) -> None:
    async def handler(_: Job) -> dict[str, bool]:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return {"done": True}
        return {}

    assert await run(handler, threads, 10) == Completed({"done": True})


async def test_a_sync_handler_is_told_of_its_timeout_and_its_late_success_counts(threads: ThreadPoolExecutor) -> None:
    told = threading.Event()
    timeouts: list[str] = []

    def handler(job: Job) -> dict[str, bool]:
        told.wait(30)
        return {"cancelled": job.cancelled}

    def on_timeout() -> None:
        timeouts.append("t")
        told.set()

    outcome = await execute(Handler("t", handler, None, is_async=False), make_job(), threads, on_timeout, 0.01)
    assert outcome == Completed({"cancelled": True})
    assert timeouts == ["t"]


async def test_only_the_workers_own_cancellation_interrupts(threads: ThreadPoolExecutor) -> None:
    started = asyncio.Event()

    async def handler(_: Job) -> None:
        started.set()
        await asyncio.sleep(3600)

    running = asyncio.create_task(run(handler, threads))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("waits", [True, False])
async def test_a_handler_that_cancels_its_own_task_ends_in_an_outcome(threads: ThreadPoolExecutor, waits: bool) -> None:
    async def handler(_: Job) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if waits:
            await asyncio.sleep(0)

    handles = Handler("t", handler, None, is_async=True)
    outcome = await execute(handles, make_job(), threads, lambda: None, None, stopping=lambda: False)
    assert outcome == (Failed("CancelledError", retryable=True) if waits else Completed({}))
    await asyncio.sleep(0)  # nothing is left of it


async def test_an_error_in_the_log_shows_no_local_variables(
    threads: ThreadPoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a logger does that nobody configured, where a worker is used as a library."""

    def handler(_: Job) -> None:
        password = "hunter2"
        raise ValueError(len(password))

    before = structlog.get_config()
    structlog.reset_defaults()
    try:
        await run(handler, threads)
    finally:
        structlog.configure(**before)
    told = capsys.readouterr().out
    assert "raise ValueError(len(password))" in told
    assert "hunter2" not in told
