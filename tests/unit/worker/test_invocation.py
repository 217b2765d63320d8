import asyncio
import contextvars
import functools
import math
import threading
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import pytest

from rochallor_worker import Instance, Job, NonRetryableError, Postpone, Registry, State
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.lease import Grant, Lease
from rochallor_worker.execution.limit import Limit
from rochallor_worker.handlers.failure import MAX_MESSAGE_CHARS, MAX_TRACEBACK_CHARS
from rochallor_worker.handlers.results import MAX_RESULT_BYTES
from rochallor_worker.logger import job_keys
from rochallor_worker.outcome import Completed, Failed, Outcome, Postponed
from rochallor_worker.registry import Handler
from unit.worker.running import invoke_and_log


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


class Prompt(ThreadPoolExecutor):
    """Runs each function at once: a short limit is reached by a handler that runs, and not by one that waits."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        begun = threading.Event()

        def run() -> Any:
            begun.set()
            return function(*args, **options)

        future = super().submit(run)
        begun.wait()
        return future


@pytest.fixture
def prompt() -> Iterator[ThreadPoolExecutor]:
    with Prompt(2) as pool:
        yield pool


async def _no_instance(instance_id: str) -> Instance:
    raise AssertionError(f"instance {instance_id} was fetched")


def make_job(retries_remaining: int = 0) -> Job:
    return Job(
        id="j",
        instance_id="i",
        step_execution_id="s",
        job_type="t",
        variables={},
        retries_remaining=retries_remaining,
        _fetch_instance=_no_instance,
    )


async def run(function: Callable[[Job], Any], threads: ThreadPoolExecutor, timeout: float | None = None) -> Outcome:
    handler = Handler("t", function, None, asyncio.iscoroutinefunction(function))
    outcome = await invoke_and_log(handler, make_job(), threads, limit_of(timeout))
    assert isinstance(outcome, Completed | Failed)
    return outcome


def limit_of(timeout: float | None = None, on_reached: Callable[[], None] = lambda: None) -> Limit:
    return Limit(timeout, clock=lambda: asyncio.get_running_loop().time(), on_reached=on_reached)


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


@dataclass
class Order:
    amount: int


@dataclass
class Receipt:
    total: Decimal
    at: date


class DeclinedError(Exception): ...


@dataclass(frozen=True)
class FrozenError(NonRetryableError):
    """Refuses that anybody writes to it, as `contextlib`'s generators do to what passes them."""

    code: int


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("limit", [None, 5])
@pytest.mark.parametrize("kind", [lambda function: function, in_coroutine])
async def test_an_error_that_cannot_be_written_to_is_still_itself(
    kind: Callable[[Callable[[Job], Any]], Callable[[Job], Any]], limit: float | None, threads: ThreadPoolExecutor
) -> None:
    async def audit(job: Job, call: Callable[[], Any]) -> Any:
        return await call()

    registry = Registry(middleware=[audit])
    registry.handler("a")(kind(raising(FrozenError(51))))
    for handler in (Handler("t", kind(raising(FrozenError(51))), None, kind is in_coroutine), *registry):
        outcome = await invoke_and_log(handler, make_job(), threads, limit_of(limit))
        assert isinstance(outcome, Failed)
        assert not outcome.retryable
        assert outcome.message.startswith("FrozenError: ")


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
        (raising(ValueError("a\0b")), Failed("ValueError: a?b", retryable=True)),  # PostgreSQL cannot store a NUL
        (returning(5), Failed("the handler returned int; must be a mapping or None", retryable=True)),
        (returning([]), Failed("the handler returned list; must be a mapping or None", retryable=True)),
    ],
)
async def test_every_way_a_handler_can_end_is_an_outcome(
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
async def test_a_result_that_is_not_json_is_retried_since_a_deployment_may_fix_it(
    result: Any, threads: ThreadPoolExecutor
) -> None:
    outcome = await run(returning(result), threads)
    assert isinstance(outcome, Failed)
    assert outcome.retryable
    assert outcome.message.startswith("the handler's result is not JSON: ")


async def test_a_huge_result_is_a_failure_that_gives_its_size(threads: ThreadPoolExecutor) -> None:
    outcome = await run(returning({"x": "a" * MAX_RESULT_BYTES}), threads)
    assert outcome == Failed("the handler's result is 4,194,313 bytes of JSON; the limit is 4,194,304", retryable=True)


@pytest.mark.parametrize("character", ["a", "é"])
async def test_a_result_may_be_as_large_as_the_limit_in_utf_8(threads: ThreadPoolExecutor, character: str) -> None:
    largest = {"x": character * ((MAX_RESULT_BYTES - len('{"x": ""}')) // len(character.encode()))}
    assert await run(returning(largest), threads) == Completed(largest)


async def test_a_long_error_is_cut(threads: ThreadPoolExecutor) -> None:
    outcome = await run(raising(ValueError("x" * 10_000)), threads)
    assert isinstance(outcome, Failed)
    assert len(outcome.message) == MAX_MESSAGE_CHARS


@pytest.mark.looptime
async def test_an_async_handler_is_cancelled_at_its_timeout(
    threads: ThreadPoolExecutor, logged: list[MutableMapping[str, Any]]
) -> None:
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
    [line] = logged
    assert "exception" not in line  # it would show where the handler waited, as if that were the error


@pytest.mark.looptime
async def test_a_success_despite_the_cancellation_is_a_success(threads: ThreadPoolExecutor) -> None:
    async def handler(_: Job) -> dict[str, bool]:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return {"done": True}
        return {}

    assert await run(handler, threads, 10) == Completed({"done": True})


async def test_a_sync_handler_can_see_its_timeout_and_its_late_success_counts(prompt: ThreadPoolExecutor) -> None:
    reached = threading.Event()
    timeouts: list[str] = []

    def handler(job: Job) -> dict[str, bool]:
        assert reached.wait(60)
        return {"cancelled": job.cancelled}

    def on_timeout() -> None:
        timeouts.append("t")
        reached.set()

    outcome = await invoke_and_log(
        Handler("t", handler, None, is_async=False), make_job(), prompt, limit_of(0.01, on_timeout)
    )
    assert outcome == Completed({"cancelled": True})
    assert timeouts == ["t"]


async def test_what_a_late_sync_handler_raises_counts_too(prompt: ThreadPoolExecutor) -> None:
    reached = threading.Event()

    def handler(_: Job) -> None:
        assert reached.wait(60)
        raise ValueError("late")

    outcome = await invoke_and_log(
        Handler("t", handler, None, is_async=False), make_job(), prompt, limit_of(0.01, reached.set)
    )
    assert outcome == Failed("ValueError: late", retryable=True)


class Busy(Executor):
    """Has no free thread: what is submitted waits."""

    def __init__(self) -> None:
        self.waiting: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        self.waiting.append(Future())
        return self.waiting[-1]


@pytest.mark.looptime
async def test_a_sync_handler_that_gets_no_thread_before_its_limit_is_postponed_and_not_run() -> None:
    """Else the next run would be beside it; and only handlers that fail spend retries."""
    threads, job = Busy(), make_job()
    async with asyncio.timeout(3600):
        outcome = await invoke_and_log(Handler("t", returning({}), None, is_async=False), job, threads, limit_of(10))
    assert outcome == Postponed(0, "no thread became free")
    assert asyncio.get_running_loop().time() == pytest.approx(10)
    [queued] = threads.waiting
    assert queued.cancelled()


async def test_a_coroutine_of_a_sync_handler_has_the_same_limit(threads: ThreadPoolExecutor) -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    assert await run(lambda _: inner(), threads, 0.01) == Failed("handler timed out after 0.01 s", retryable=True)


async def test_an_async_handler_needs_no_thread(threads: ThreadPoolExecutor) -> None:
    threads.shutdown()
    assert await run(in_coroutine(returning({"x": 1})), threads) == Completed({"x": 1})


async def test_a_sync_handler_sees_the_context_of_its_job(threads: ThreadPoolExecutor) -> None:
    """Middleware and tracing bind variables in the loop; logs of the handler carry them."""
    trace = contextvars.ContextVar("trace", default="none")
    trace.set("42")
    assert await run(lambda _: {"trace": trace.get()}, threads) == Completed({"trace": "42"})


@pytest.mark.parametrize("wrap", [in_coroutine, lambda function: function], ids=["async", "sync"])
async def test_logs_of_a_handler_carry_its_job_and_later_ones_do_not(
    wrap: Callable[[Callable[[Job], Any]], Callable[[Job], Any]], threads: ThreadPoolExecutor
) -> None:
    outcome = await run(wrap(lambda _: dict(job_keys())), threads)
    assert outcome == Completed({"job_id": "j", "job_type": "t", "instance_id": "i", "attempt": 1})
    assert job_keys() == {}


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_job_that_the_engine_took_away_has_no_outcome_unless_there_is_a_result(
    threads: ThreadPoolExecutor, is_async: bool
) -> None:
    lease = Lease(ClaimedJob(id="j", instance_id="i", job_type="t"), 0, Grant(math.inf, math.inf))
    started, cancelled = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    async def in_loop(_: Job) -> None:
        started.set()
        await asyncio.Event().wait()

    def in_thread(job: Job) -> None:
        loop.call_soon_threadsafe(started.set)
        while not job.cancelled:
            cancelled.wait(0.001)
        raise ValueError("given up")

    handler = Handler("t", in_loop if is_async else in_thread, None, is_async)
    limit = Limit(None, lease, clock=loop.time)
    running = asyncio.create_task(invoke_and_log(handler, make_job(), threads, limit))
    await started.wait()
    lease.lose()
    assert await running is None


@pytest.mark.parametrize("cut_off", [True, False])
async def test_a_sync_handler_can_see_that_its_run_is_cancelled(threads: ThreadPoolExecutor, cut_off: bool) -> None:
    started, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    jobs: list[Job] = []

    def handler(job: Job) -> None:
        jobs.append(job)
        loop.call_soon_threadsafe(started.set)
        ended.wait(30)

    handles = Handler("t", handler, None, is_async=False)
    running = asyncio.create_task(invoke_and_log(handles, make_job(), threads, limit_of(), lambda: cut_off))
    await started.wait()
    running.cancel()
    if cut_off:
        with pytest.raises(asyncio.CancelledError):
            await running
    else:
        assert await running == Failed("CancelledError", retryable=True)
    assert jobs[0].cancelled
    ended.set()


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
    assert running.cancelling() == 1  # nobody undid it: callers see it too


@pytest.mark.looptime
@pytest.mark.parametrize("waits", [True, False])
async def test_a_handler_that_cancels_its_own_task_ends_in_an_outcome(threads: ThreadPoolExecutor, waits: bool) -> None:
    async def handler(_: Job) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if waits:
            await asyncio.sleep(0)

    handles = Handler("t", handler, None, is_async=True)
    outcome = await invoke_and_log(handles, make_job(), threads, limit_of(), cut_off=lambda: False)
    assert outcome == (Failed("CancelledError", retryable=True) if waits else Completed({}))
    await asyncio.sleep(0)  # nothing of it is left
    assert asyncio.get_running_loop().time() == 0


async def test_an_error_in_the_log_shows_no_local_variables(
    threads: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """With the user's own formatter, where a worker is used as a library."""

    def handler(_: Job) -> None:
        password = "hunter2"
        raise ValueError(len(password))

    await run(handler, threads)
    text = caplog.text
    assert "raise ValueError(len(password))" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("result", "where"),
    [
        ({"a": "x\0"}, "a"),
        ({"a": [1, {"b": "\0"}]}, "a[1].b"),
        ({"a": {"b\0": 1}}, "'a.b\\x00'"),
        ({"a": [1], "b": {"c": []}, "_d": "\0"}, "_d"),
    ],
)
async def test_a_result_that_the_engine_can_never_store_is_refused_at_once(
    result: dict[str, Any], where: str, threads: ThreadPoolExecutor
) -> None:
    outcome = await run(returning(result), threads)
    sentence = f"the handler's result has U+0000 in {where}, which the engine cannot store"
    assert outcome == Failed(sentence, retryable=True)


@pytest.mark.parametrize(
    ("result", "where"),
    [({"n": 2**64}, "n"), ({"a": {"b": [0, -(2**63) - 1]}}, "a.b[1]"), ({"n": 10**400}, "n")],
)
async def test_an_integer_whose_digits_the_engine_would_lose_is_refused(
    result: dict[str, Any], where: str, threads: ThreadPoolExecutor
) -> None:
    sentence = f"an integer of more than 64 bits in {where}, whose digits the engine would lose: return a string"
    assert await run(returning(result), threads) == Failed(f"the handler's result has {sentence}", retryable=True)


async def test_what_only_looks_like_a_long_integer_is_accepted(threads: ThreadPoolExecutor) -> None:
    result = {"n": 2**64 - 1, "least": -(2**63), "text": "9" * 40, "ratio": 1e300, "small": 0.12345678901234567890123}
    assert await run(returning(result), threads) == Completed(result)


async def test_a_text_that_only_spells_nul_is_accepted(threads: ThreadPoolExecutor) -> None:
    assert await run(returning({"a": "\\u0000"}), threads) == Completed({"a": "\\u0000"})


async def test_a_group_of_errors_is_permanent_if_one_of_them_is_and_says_how_many_there_are(
    threads: ThreadPoolExecutor,
) -> None:
    async def child(error: Exception) -> None:
        raise error

    async def handler(_: Job) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child(ValueError("one")))
            group.create_task(child(NonRetryableError("no amount")))
            group.create_task(child(ValueError("three")))

    handles = Handler("t", handler, None, is_async=True)
    outcome = await invoke_and_log(handles, make_job(), threads, limit_of(), cut_off=lambda: False)
    assert outcome == Failed("NonRetryableError: no amount (and 2 more)", retryable=False)
    nested = ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("first")]), KeyError("second")])
    assert await run(raising(nested), threads) == Failed("ValueError: first (and 1 more)", retryable=True)


async def test_an_async_function_behind_a_sync_decorator_is_awaited(threads: ThreadPoolExecutor) -> None:
    async def inner(_: Job) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"x": 1}

    def decorated(job: Job) -> Any:
        return inner(job)

    assert await run(decorated, threads) == Completed({"x": 1})


@pytest.mark.looptime
async def test_an_error_of_the_clean_up_does_not_hide_the_timeout(threads: ThreadPoolExecutor) -> None:
    reached: list[bool] = []

    async def handler(_: Job) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ConnectionError("already closed")

    handles = Handler("t", handler, None, is_async=True)
    outcome = await invoke_and_log(handles, make_job(), threads, limit_of(10, lambda: reached.append(True)))
    assert outcome == Failed("handler timed out after 10 s", retryable=True)
    assert reached == [True]


async def _raise_on_close() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        raise ConnectionError("already closed")


async def _other_error() -> None:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        raise ValueError("interrupted") from None


async def _task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_raise_on_close())


@pytest.mark.parametrize("interrupted", [_raise_on_close, _other_error, _task_group])
async def test_what_clean_up_raises_when_a_worker_stops_is_no_failure(
    interrupted: Callable[[], Any], threads: ThreadPoolExecutor
) -> None:
    started = asyncio.Event()

    async def handler(_: Job) -> None:
        started.set()
        await interrupted()

    running = asyncio.create_task(run(handler, threads))
    await started.wait()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize(
    ("function", "retries", "level", "event", "traced"),
    [
        (raising(NonRetryableError("no amount")), 3, "error", "a run failed; the job fails permanently", False),
        (raising(ValueError("x")), 0, "error", "a run failed; the job fails permanently", True),
        (raising(ValueError("x")), 1, "warning", "a run failed; the job is retried", True),
        (returning(5), 3, "warning", "a run failed; the job is retried", False),
        (returning({"x": math.nan}), 0, "error", "a run failed; the job fails permanently", False),
    ],
)
async def test_each_failed_run_is_one_line(
    function: Callable[[Job], Any],
    retries: int,
    level: str,
    event: str,
    traced: bool,
    threads: ThreadPoolExecutor,
    logged: list[MutableMapping[str, Any]],
) -> None:
    handler = Handler("t", function, None, is_async=False)
    outcome = await invoke_and_log(handler, make_job(retries), threads, limit_of())
    assert isinstance(outcome, Failed)
    [line] = logged
    assert (line["log_level"], line["event"], line["error"]) == (level, event, outcome.message)
    assert {"job_id", "job_type", "instance_id", "attempt"} <= line.keys()
    assert line.get("retries_remaining") == (retries if level == "warning" else None)
    assert ("exception" in line) == traced


async def test_a_long_traceback_is_cut(threads: ThreadPoolExecutor, logged: list[MutableMapping[str, Any]]) -> None:
    await run(raising(ValueError("x" * 100_000)), threads)
    [line] = logged
    assert len(line["exception"]) <= MAX_TRACEBACK_CHARS + 1


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("variables", "outcome"),
    [
        ({"amount": 3}, Completed({"total": "3", "at": "2026-01-02"})),
        (
            {"amount": None},
            Failed(
                "NonRetryableError: the variables do not fit Order: amount: expected int, got null", retryable=False
            ),
        ),
        ({"amount": 0}, Failed("the handler returned int; must be a mapping or None", retryable=True)),
        (
            {"amount": -1},
            Failed(
                "the handler's result is not JSON: TypeError: Object of type object is not JSON serializable",
                retryable=True,
            ),
        ),
        ({"amount": -2}, Failed("DeclinedError: no", retryable=False)),
        ({"amount": -3}, Failed("DeclinedError: no (and 1 more)", retryable=False)),
        ({"amount": -4}, Failed("KeyError: 'x'", retryable=True)),
        ({"amount": -5}, Completed({})),
    ],
)
async def test_every_way_a_typed_handler_can_end_is_an_outcome(
    threads: ThreadPoolExecutor, variables: dict[str, Any], outcome: Outcome, is_async: bool
) -> None:
    registry = Registry()
    state = {"at": date(2026, 1, 2)}

    def typed(order: Order, job: Job, at: Annotated[date, State("at")]) -> Any:
        assert job.variables == variables
        match order.amount:
            case 0:
                return 5
            case -1:
                return {"x": object()}
            case -2:
                raise DeclinedError("no")
            case -3:
                raise ExceptionGroup("", [ValueError("x"), DeclinedError("no")])
            case -4:
                raise KeyError("x")
            case -5:
                return None
        return Receipt(Decimal(order.amount), at)

    @functools.wraps(typed)
    async def in_loop(*args: Any) -> Any:
        return typed(*args)

    registry.handler("t", non_retryable=(DeclinedError,))(in_loop if is_async else typed)
    handler = registry.get("t")
    assert handler is not None
    job = replace(make_job(), variables=variables)
    assert await invoke_and_log(handler, job, threads, limit_of(), lambda: True, state) == outcome


@pytest.mark.parametrize("kinds", [(), (Exception,)])
async def test_a_postponement_is_none_of_the_errors_that_no_retry_can_fix(
    kinds: tuple[type[BaseException], ...], threads: ThreadPoolExecutor
) -> None:
    handler = Handler("t", raising(Postpone("not yet", after=7)), None, is_async=False, non_retryable=kinds)
    assert await invoke_and_log(handler, make_job(), threads, limit_of()) == Postponed(7, "not yet")


async def test_an_error_that_no_retry_can_fix_counts_for_more_than_a_postponement(threads: ThreadPoolExecutor) -> None:
    both = ExceptionGroup("both", [Postpone("not yet", after=7), NonRetryableError("no amount")])
    outcome = await run(raising(both), threads)
    assert outcome == Failed("NonRetryableError: no amount (and 1 more)", retryable=False)


@pytest.mark.parametrize(("variables", "word"), [({}, "missing"), ({"amount": None}, "null")])
async def test_a_variable_that_is_required_is_permanent(
    threads: ThreadPoolExecutor, variables: dict[str, Any], word: str
) -> None:
    handler = Handler("t", lambda job: job.require("amount"), None, is_async=False)
    outcome = await invoke_and_log(handler, replace(make_job(), variables=variables), threads, limit_of())
    assert outcome == Failed(f"NonRetryableError: the variable 'amount' is {word}", retryable=False)


@pytest.mark.parametrize("value", [0, "", False, [], {"a": 1}])
def test_a_variable_that_is_there_is_returned(value: Any) -> None:
    assert replace(make_job(), variables={"amount": value}).require("amount") == value


async def test_a_handler_may_return_its_variables(threads: ThreadPoolExecutor) -> None:
    handler = Handler("t", lambda job: {"all": job.variables}, None, is_async=False)
    outcome = await invoke_and_log(handler, replace(make_job(), variables={"a": [1]}), threads, limit_of())
    assert outcome == Completed({"all": {"a": [1]}})
