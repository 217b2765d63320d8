"""Lifespans around a whole worker, on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from rochallor_worker import InstanceStatus, Job, Registry, RochallorError, Runner, StartError, Worker
from rochallor_worker.execution.runner import CLOSE_SECONDS
from rochallor_worker.handlers import lifespan as lifespans
from rochallor_worker.handlers.lifespan import Lifespan, living
from rochallor_worker.handlers.middleware import Call
from unit.worker.engines import FaultyEngine, loop_time
from unit.worker.running import finished, running, start
from waiting import until

pytestmark = pytest.mark.looptime
Logged = list[dict[str, Any]]


def yielding(state: Any, trail: list[str] | None = None, name: str = "") -> Lifespan:
    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[Any]:
        if trail is not None:
            trail.append(f"{name} opened")
        try:
            yield state
        finally:
            if trail is not None:
                trail.append(f"{name} closed")

    return lifespan


def fail(error: BaseException) -> None:
    raise error


def runner_of(lifespan: Lifespan, engine: FaultyEngine | None = None, **options: Any) -> Runner:
    registry = Registry(lifespan=lifespan)

    @registry.handler("a")
    async def a(_: Job) -> None: ...

    return Runner(engine or FaultyEngine(), registry, worker_id="w", clock=loop_time, **options)


async def test_a_lifespan_is_open_from_before_the_first_claim_until_after_the_last_outcome() -> None:
    engine = FaultyEngine(after=lambda name, _: 5 if name == "complete_job" else None)
    await start(engine, "a", count=3)
    calls: list[list[tuple[str, float]]] = []
    seen: list[object] = []
    problems: list[object] = []

    @asynccontextmanager
    async def lifespan(worker: Worker) -> AsyncIterator[Mapping[str, Any]]:
        await asyncio.sleep(7)
        calls.append(list(engine.calls[1 + 3 :]))
        yield {"worker": worker}
        await asyncio.sleep(1)
        calls.append(list(engine.calls))

    async def audit(_job: Job, call: Call, state: Mapping[str, Any]) -> Any:
        seen.append(state["worker"])
        return await call()

    registry = Registry(lifespan=lifespan, middleware=[audit])

    @registry.handler("a")
    async def a(_: Job) -> dict[str, int]:
        await asyncio.sleep(3)
        return {"done": 1}

    async with running(engine, registry) as (runner, _):
        await asyncio.sleep(6)
        problems.append(runner.problem)
        await until(lambda: len(seen) == 3)
        problems.append(runner.problem)
        runner.stop()
    assert finished(engine, InstanceStatus.COMPLETED) == 3
    assert problems == [("Starting", "the lifespan is not open yet"), None]
    before, after = calls
    assert before == []
    assert after == engine.calls
    assert seen == [Worker("w", ["a"], engine)] * 3


async def test_a_lifespan_that_fails_is_a_start_error_of_one_line_with_its_place() -> None:
    engine = FaultyEngine()

    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        fail(ConnectionError("the database\nis down"))
        yield

    with pytest.raises(StartError) as raised:
        await runner_of(lifespan, engine).run()
    message = str(raised.value)
    assert ".lifespan' failed: ConnectionError: the database is down (test_lifespan.py, line " in message
    assert "\n" not in message
    assert engine.calls == []


async def test_the_place_is_in_the_users_file_when_a_library_raised() -> None:
    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        await asyncio.wait_for(asyncio.Event().wait(), 5)
        yield

    with pytest.raises(StartError, match=r"TimeoutError \(test_lifespan.py, line \d+\)$"):
        await runner_of(lifespan).run()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
async def test_whatever_a_lifespan_raises_is_a_start_error(error: BaseException) -> None:
    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        fail(error)
        yield

    with pytest.raises(StartError, match=f"lifespan.* failed: {type(error).__name__}"):
        await runner_of(lifespan).run()


async def test_a_start_error_of_a_lifespan_is_shown_as_it_is() -> None:
    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        fail(StartError("DSN is not set"))
        yield

    with pytest.raises(StartError, match=r"^DSN is not set$"):
        await runner_of(lifespan).run()


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ("a pool", "yielded str; must be a mapping with names as keys, or nothing"),
        ({1: "a pool"}, "yielded dict; must be a mapping with names as keys, or nothing"),
    ],
)
async def test_a_lifespan_yields_a_mapping_or_nothing(state: Any, sentence: str) -> None:
    with pytest.raises(StartError, match=sentence):
        await runner_of(yielding(state)).run()


WORKER = Worker("w", ["a"], FaultyEngine())


async def test_lifespans_are_closed_in_reverse_and_each_is_opened_once() -> None:
    trail: list[str] = []
    one, two = yielding({"one": 1}, trail, "one"), yielding({"two": 2}, trail, "two")
    async with living([one, two, one], WORKER, lambda: 3) as life:
        state = await life.state
        assert state == {"one": 1, "two": 2}
        with pytest.raises(TypeError):
            state["three"] = 3  # type: ignore[index]
    assert trail == ["one opened", "two opened", "two closed", "one closed"]


async def test_a_name_of_two_lifespans_is_a_start_error_and_both_are_closed() -> None:
    trail: list[str] = []
    async with living(
        [yielding({"db": 1}, trail, "one"), yielding({"db": 2}, trail, "two")], WORKER, lambda: 3
    ) as life:
        with pytest.raises(StartError, match="yielded 'db', which another lifespan yields too"):
            await life.state
    assert trail == ["one opened", "two opened", "two closed", "one closed"]


def ignoring_cancellation(released: asyncio.Event, *, while_opening: bool) -> Lifespan:
    async def ignore() -> None:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        if while_opening:
            await ignore()
        yield
        await ignore()

    return lifespan


async def test_a_stop_ends_a_lifespan_that_is_being_opened() -> None:
    engine, trail = FaultyEngine(), list[str]()

    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        try:
            await asyncio.sleep(3600)
        finally:
            trail.append("released")
        yield

    runner = runner_of(lifespan, engine)
    task = asyncio.create_task(runner.run())
    await asyncio.sleep(5)
    runner.stop()
    assert await task == []
    assert loop_time() == pytest.approx(5, abs=0.1)
    assert trail == ["released"]
    assert engine.calls == []


@pytest.mark.parametrize("while_opening", [True, False])
async def test_a_lifespan_that_ignores_its_cancellation_holds_nobody(logged: Logged, while_opening: bool) -> None:
    released = asyncio.Event()
    runner = runner_of(ignoring_cancellation(released, while_opening=while_opening), drain_timeout=0)
    task = asyncio.create_task(runner.run())
    await asyncio.sleep(5)
    runner.stop()
    assert await task == []
    assert loop_time() == pytest.approx(5 + CLOSE_SECONDS + lifespans.CANCEL_SECONDS, abs=0.1)
    assert "a lifespan has not closed in time, and is cancelled" in [entry["event"] for entry in logged]
    released.set()


@pytest.mark.parametrize(("jobs_take", "closes_after"), [(4, 20), (19, 22), (60, 23)])
async def test_a_lifespan_closes_in_what_the_jobs_leave_of_the_drain_timeout(
    jobs_take: float, closes_after: float
) -> None:
    engine, ended = FaultyEngine(), list[float]()
    await start(engine, "a")

    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        yield
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(loop_time())

    registry, started = Registry(lifespan=lifespan), asyncio.Event()

    @registry.handler("a")
    async def a(_: Job) -> None:
        started.set()
        await asyncio.sleep(jobs_take)

    async with running(engine, registry, drain_timeout=20) as (runner, _):
        await started.wait()
        began = loop_time()
        runner.stop()
    assert ended[0] - began == pytest.approx(closes_after, abs=0.2)


async def test_what_goes_wrong_while_closing_is_logged_and_harms_nothing(logged: Logged) -> None:
    trail: list[str] = []

    @asynccontextmanager
    async def fails(_: Worker) -> AsyncIterator[None]:
        yield
        raise OSError("broken pipe")

    async with living([yielding({}, trail, "first"), fails], WORKER, lambda: 3) as life:
        await life.state
    [entry] = [entry for entry in logged if entry["log_level"] == "error"]
    assert entry["event"] == "a lifespan failed while it closed"
    assert entry["error"].startswith("OSError: broken pipe (test_lifespan.py, line ")
    assert trail == ["first opened", "first closed"]


async def test_a_lifespan_that_ends_early_ends_the_worker_after_its_jobs() -> None:
    """A task group in it, say, one of whose tasks has failed: what handlers use is closed."""
    engine = FaultyEngine()
    await start(engine, "a")

    @asynccontextmanager
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        async def refresh() -> None:
            await asyncio.sleep(2)
            raise ConnectionError("no more tokens")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(refresh())
            yield

    registry = Registry(lifespan=lifespan)

    @registry.handler("a")
    async def a(_: Job) -> None:
        await asyncio.sleep(5)

    with pytest.raises(RochallorError, match="a lifespan has ended while the worker runs: ConnectionError: no more t"):
        await Runner(engine, registry, worker_id="w", clock=loop_time).run()
    assert finished(engine, InstanceStatus.COMPLETED) == 1


async def test_a_task_that_fails_while_another_lifespan_is_opened_is_a_start_error() -> None:
    @asynccontextmanager
    async def grouped(_: Worker) -> AsyncIterator[None]:
        async def fail() -> None:
            raise ConnectionError("refused")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
            yield

    @asynccontextmanager
    async def slow(_: Worker) -> AsyncIterator[None]:
        await asyncio.sleep(3600)
        yield

    async with living([grouped, slow], WORKER, lambda: 3) as life:
        with pytest.raises(StartError, match="a lifespan failed: ConnectionError: refused"):
            await life.state


def undecorated() -> Callable[[Worker], Any]:
    async def lifespan(_: Worker) -> AsyncIterator[None]:
        yield

    return lifespan


def decorated_as_sync() -> Callable[[Worker], Any]:
    @contextmanager
    def lifespan(_: Worker) -> Any:
        yield

    return lifespan


def without_argument() -> Callable[..., AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield

    return lifespan


@pytest.mark.parametrize(
    ("lifespan", "sentence"),
    [
        (undecorated(), r"lacks its decorator: write @asynccontextmanager \(from contextlib\) above it"),
        (decorated_as_sync(), "is not async: must be an async def with @asynccontextmanager"),
        (without_argument(), "must take one argument, the worker"),
    ],
)
def test_what_cannot_be_a_lifespan_is_refused_with_its_place(lifespan: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=rf"the lifespan .*lifespan \(test_lifespan.py, line \d+\) {sentence}"):
        Registry(lifespan=lifespan)
