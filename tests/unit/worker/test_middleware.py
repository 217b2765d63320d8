"""Middleware around async and sync handlers."""

import asyncio
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker import Job, NonRetryableError, Registry
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.execution.lease import Grant, Lease
from rochallor_worker.execution.limit import Limit
from rochallor_worker.handlers.invocation import invoke
from rochallor_worker.handlers.middleware import Call, Middleware
from rochallor_worker.outcome import Completed, Failed, Outcome, Postponed
from unit.worker.test_invocation import Prompt, limit_of, make_job

KINDS = pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


class Finishing(ThreadPoolExecutor):
    """Has run a function once it is submitted: the virtual clock waits for no thread, and would reach the limit."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        future = super().submit(function, *args, **options)
        wait({future})
        return future


async def invoked(
    function: Callable[[Job], Any],
    middleware: list[Middleware],
    threads: ThreadPoolExecutor,
    *,
    is_async: bool = True,
    limit: Limit | None = None,
    state: Mapping[str, Any] | None = None,
) -> Outcome | None:
    async def in_coroutine(job: Job) -> Any:
        result = function(job)
        return await result if asyncio.iscoroutine(result) else result

    registry = Registry(middleware=middleware)
    registry.handler("t")(in_coroutine if is_async else function)
    handler = registry.get("t")
    assert handler is not None
    outcome = await invoke(handler, make_job(), threads, limit or limit_of(), lambda: False, state or {})
    assert not isinstance(outcome, Postponed)
    return outcome


ERRORS = (ValueError, KeyError)


async def passes(call: Call) -> Any:
    return await call()


async def changes(call: Call) -> Any:
    return {**await call(), "changed": True}


async def skips(_: Call) -> Any:
    return {"skipped": True}


async def raises(_: Call) -> Any:
    raise KeyError("of middleware")


async def swallows(call: Call) -> Any:
    try:
        return await call()
    except ERRORS as error:
        return {"swallowed": repr(error)}


async def repeats(call: Call) -> Any:
    try:
        return await call()
    except ERRORS:
        return await call()


@KINDS
@given(
    behaviours=st.lists(st.sampled_from([passes, changes, skips, raises, swallows, repeats]), max_size=5),
    succeeds=st.booleans(),
)
def test_middleware_behaves_like_functions_inside_each_other(
    is_async: bool, behaviours: list[Middleware], succeeds: bool
) -> None:
    def handler(_: object) -> dict[str, Any]:
        trail.append("handler")
        if not succeeds:
            raise ValueError("of the handler")
        return {"result": 1}

    async def expected(level: int = 0) -> Any:
        if level == len(behaviours):
            return handler(None)
        trail.append(level)
        return await behaviours[level](lambda: expected(level + 1))

    def middleware_at(level: int) -> Middleware:
        async def middleware(_: Job, call: Call) -> Any:
            trail.append(level)
            return await behaviours[level](call)

        return middleware

    trail: list[object] = []
    try:
        wanted: Outcome = Completed(asyncio.run(expected()))
    except ERRORS as error:
        wanted = Failed(f"{type(error).__name__}: {error}", retryable=True)
    wanted_trail, trail = trail, []
    with ThreadPoolExecutor(1) as threads:
        middleware = [middleware_at(level) for level in range(len(behaviours))]
        assert asyncio.run(invoked(handler, middleware, threads, is_async=is_async)) == wanted
    assert trail == wanted_trail


@KINDS
async def test_middleware_sees_the_job_the_state_and_the_result(threads: ThreadPoolExecutor, is_async: bool) -> None:
    seen: list[object] = []

    async def audit(job: Job, call: Call, state: Mapping[str, Any]) -> Any:
        result = await call()
        seen.extend([job.key, state["db"], result])
        return result

    outcome = await invoked(lambda _: {"n": 1}, [audit], threads, is_async=is_async, state={"db": "a pool"})
    assert outcome == Completed({"n": 1})
    assert seen == ["s", "a pool", {"n": 1}]


async def test_what_middleware_raises_counts_like_an_error_of_the_handler(threads: ThreadPoolExecutor) -> None:
    async def refuse(_job: Job, _call: Call) -> None:
        raise NonRetryableError("not this tenant")

    assert await invoked(lambda _: None, [refuse], threads) == Failed(
        "NonRetryableError: not this tenant", retryable=False
    )


async def test_what_middleware_returns_must_be_a_result(threads: ThreadPoolExecutor) -> None:
    async def careless(_job: Job, call: Call) -> Any:
        await call()
        return 5

    assert await invoked(lambda _: None, [careless], threads) == Failed(
        "the handler returned int; must be a mapping or None", retryable=True
    )


@pytest.mark.looptime
async def test_middleware_sees_a_timeout_and_may_clean_up_without_a_limit(threads: ThreadPoolExecutor) -> None:
    reached: list[str] = []
    seen: list[object] = []

    async def audit(_job: Job, call: Call) -> Any:
        try:
            return await call()
        except TimeoutError:
            await asyncio.sleep(60)
            seen.append("timeout")
            raise

    limit = limit_of(10, lambda: reached.append("reached"))
    outcome = await invoked(lambda _: asyncio.sleep(3600), [audit], threads, limit=limit)
    assert outcome == Failed("handler timed out after 10 s", retryable=True)
    assert (seen, reached) == (["timeout"], ["reached"])


@pytest.mark.looptime
async def test_calls_that_are_repeated_share_one_limit(threads: ThreadPoolExecutor) -> None:
    reached: list[str] = []

    async def stubborn(_job: Job, call: Call) -> Any:
        try:
            return await call()
        except TimeoutError:
            return await call()

    loop = asyncio.get_running_loop()
    began = loop.time()
    limit = limit_of(10, lambda: reached.append("reached"))
    outcome = await invoked(lambda _: asyncio.sleep(3600), [stubborn], threads, limit=limit)
    assert outcome == Failed("handler timed out after 10 s", retryable=True)
    assert loop.time() - began == pytest.approx(10)
    assert reached == ["reached"]


@pytest.mark.looptime
@KINDS
@pytest.mark.parametrize("before", [True, False])
async def test_middleware_that_hangs_reaches_the_limit(is_async: bool, before: bool) -> None:
    reached: list[str] = []

    async def hangs(_job: Job, call: Call) -> Any:
        if not before:
            await call()
        await asyncio.Event().wait()

    limit = limit_of(10, lambda: reached.append("reached"))
    with Finishing(1) as threads:
        outcome = await invoked(lambda _: {}, [hangs], threads, is_async=is_async, limit=limit)
    assert outcome == Failed("handler timed out after 10 s", retryable=True)
    assert reached == ["reached"]


async def test_a_late_sync_result_is_still_a_success_when_middleware_works_on() -> None:
    late = threading.Event()

    async def slow_audit(_job: Job, call: Call) -> Any:
        result = await call()
        await asyncio.sleep(0.01)
        return result

    def handler(job: Job) -> dict[str, bool]:
        assert late.wait(60)
        return {"cancelled": job.cancelled}

    with Prompt(1) as threads:
        outcome = await invoked(handler, [slow_audit], threads, is_async=False, limit=limit_of(0.01, late.set))
    assert outcome == Completed({"cancelled": True})


@pytest.mark.looptime
async def test_a_lost_lease_interrupts_middleware_too(threads: ThreadPoolExecutor) -> None:
    lease = Lease(ClaimedJob(id="j", instance_id="i", job_type="t"), 0, Grant(math.inf, math.inf))
    after_call = asyncio.Event()

    async def hangs(_job: Job, call: Call) -> Any:
        await call()
        after_call.set()
        await asyncio.Event().wait()

    limit = Limit(None, lease, clock=asyncio.get_running_loop().time)
    running = asyncio.create_task(invoked(lambda _: {}, [hangs], threads, limit=limit))
    await after_call.wait()
    lease.lose()
    assert await running is None


async def test_a_time_limit_of_middleware_cannot_leave_a_thread_behind(threads: ThreadPoolExecutor) -> None:
    """Its slot would be free, and the retry would run beside it."""
    ended = threading.Event()

    async def impatient(_job: Job, call: Call) -> Any:
        async with asyncio.timeout(0.01):
            return await call()

    async def clean_up() -> None:
        for _ in range(100):  # an outcome that did not wait would be there before
            await asyncio.sleep(0)

    loop = asyncio.get_running_loop()

    def handler(job: Job) -> None:
        while not job.cancelled:
            ended.wait(0.001)
        asyncio.run_coroutine_threadsafe(clean_up(), loop).result(60)
        ended.set()

    outcome = await invoked(handler, [impatient], threads, is_async=False)
    assert outcome == Failed("TimeoutError", retryable=True)
    assert ended.is_set()


@pytest.mark.looptime
async def test_two_calls_at_a_time_harm_nobody_but_their_job(threads: ThreadPoolExecutor) -> None:
    lease = Lease(ClaimedJob(id="j", instance_id="i", job_type="t"), 0, Grant(math.inf, math.inf))
    pauses = iter([1, 2])

    async def twice(_job: Job, call: Call) -> Any:
        await asyncio.gather(call(), call())
        lease.changed()
        return {}

    limit = Limit(10, lease, clock=asyncio.get_running_loop().time)
    assert await invoked(lambda _: asyncio.sleep(next(pauses)), [twice], threads, limit=limit) == Completed({})


def test_what_cannot_be_middleware_is_refused_with_its_place() -> None:
    def plain(job: Job, call: Call) -> None: ...
    async def of_one(job: Job) -> None: ...

    with pytest.raises(
        ValueError, match=r"middleware .*plain \(test_middleware.py, line \d+\) is not async; must be an async def"
    ):
        Registry(middleware=[plain])  # type: ignore[list-item]
    with pytest.raises(
        ValueError,
        match=r"^middleware is a list, not the function .*plain \(test_middleware.py, .*: write it in \[ \]$",
    ):
        Registry(middleware=plain)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^middleware is a list of async functions, not None$"):
        Registry(middleware=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"of_one \(test_middleware.py, line \d+\) must take two arguments, job and c"):
        Registry(middleware=[of_one])
