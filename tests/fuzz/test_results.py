"""Whatever a handler returns or raises, its outcome can be journaled and sent."""

import asyncio
import json
import logging
import math
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.budget import examples
from rochallor_worker import Job, NonRetryableError
from rochallor_worker.cli import logs
from rochallor_worker.engine.client import ClaimedJob
from rochallor_worker.engine.grpc.struct import to_struct
from rochallor_worker.engine.rest.client import encode
from rochallor_worker.execution.journal import Journal
from rochallor_worker.outcome import Completed, Failed
from rochallor_worker.registry import Handler
from unit.worker.running import invoke_and_log
from unit.worker.test_invocation import limit_of, make_job


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Mood:
    """Objects are hostile only while the worker handles them, so that a failed test can still be reported."""

    bad = False


class Text(str):
    """A text that raises when used."""

    __slots__ = ()

    def __bool__(self) -> bool:
        if Mood.bad:
            raise SystemExit(3)
        return True

    def __format__(self, _: str) -> str:
        if Mood.bad:
            raise KeyboardInterrupt
        return "text"


class Hostile:
    """Raises on every use."""

    def __repr__(self) -> str:
        if Mood.bad:
            raise SystemExit(3)
        return "Hostile()"

    __str__ = __repr__

    def __eq__(self, _: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = None  # type: ignore[assignment]


class Changing(dict[str, Any]):
    """Is JSON only the first time it is read."""

    seen = False

    def items(self) -> Any:
        if Mood.bad and self.seen:
            raise SystemExit(3)
        self.seen = Mood.bad
        return super().items()


class Loop(dict[str, Any]):
    def __init__(self) -> None:
        super().__init__()
        self["loop"] = [self]


@dataclass
class Point:
    x: int


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", 10**30, 10**400, -(10**4000), Colour.RED, Number.ONE, Decimal(1)])
)
oddities = st.builds(Hostile) | st.sampled_from(
    [{1, 2}, b"bytes", 1j, math.nan, datetime(2026, 1, 1), Point(1), object, len, Ellipsis, Path("x"), Text("t")]  # noqa: DTZ001
)
keys = st.text(max_size=3) | st.sampled_from(
    [1, 1.5, True, None, Colour.RED, Number.ONE, (1,), b"k", math.nan, "\udfff"]
)
values = st.recursive(
    scalars | oddities,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=6,
)
results = (
    values
    | st.dictionaries(keys, values, max_size=4)
    | st.dictionaries(st.text(max_size=3), scalars, max_size=4).map(MappingProxyType)
    | st.dictionaries(st.text(max_size=3), scalars, max_size=4).map(UserDict)
    | st.builds(Changing)
    | st.builds(Loop)
)


class Unprintable(Exception):  # noqa: N818
    def __init__(self, wrong: BaseException | str) -> None:
        super().__init__()
        self.wrong = wrong

    def __str__(self) -> str:
        if not Mood.bad:
            return "unprintable"
        if isinstance(self.wrong, BaseException):
            raise self.wrong
        return self.wrong

    __repr__ = __str__


KINDS: list[type[BaseException]] = [
    ValueError,
    NonRetryableError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
    asyncio.CancelledError,
    TimeoutError,
    RecursionError,
    MemoryError,
]
plain = st.builds(lambda kind, what: kind(what), st.sampled_from(KINDS), st.text() | values)


@st.composite
def errors(draw: st.DrawFn) -> BaseException:
    """An error, with causes and notes."""
    error = draw(plain | st.builds(Unprintable, plain | st.text(max_size=3) | st.just(Text("t"))))
    if draw(st.booleans()):
        error.__cause__ = draw(plain)
    if draw(st.booleans()):
        error.__context__ = ExceptionGroup("several", [ValueError(draw(values))])
    if draw(st.booleans()):
        error.__notes__ = draw(st.lists(values, max_size=2))
    return error


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(params=["json", "text"])
def _logs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Logs as a worker writes them, so that formatting is tested too."""
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    logs.configure("INFO", request.param)
    yield
    root.handlers[:] = before
    logging.captureWarnings(False)
    structlog.reset_defaults()


async def decide(function: Callable[[], Any], threads: ThreadPoolExecutor, *, is_async: bool) -> Completed | Failed:
    async def in_coroutine(_: Job) -> Any:
        return function()

    handler = Handler("t", in_coroutine if is_async else lambda _: function(), None, is_async)
    Mood.bad = True
    try:
        outcome = await invoke_and_log(handler, make_job(), threads, limit_of())
    finally:
        Mood.bad = False
    assert isinstance(outcome, Completed | Failed)
    return outcome


def check(outcome: Completed | Failed, folder: Path) -> None:
    """The outcome can be sent over each transport, and read back from the journal."""
    match outcome:
        case Completed(variables):
            assert json.loads(encode("complete", {"variables": variables}))["variables"] == variables
            try:
                to_struct(variables)
            except OverflowError:  # an int beyond all doubles, which gRPC refuses
                assert max(len(json.dumps(variables)), 309) > 309
        case Failed(message, _):
            assert message
            encode("fail", {"errorMessage": message})
    claimed = ClaimedJob(id="j", instance_id="i", job_type="t")
    with closing(Journal(folder)) as journal:
        journal.decided(claimed, outcome)
    with closing(Journal(folder)) as journal:
        assert journal.recall(claimed) == outcome


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@examples(3)
@given(result=results)
@example(result={"x": 10**30})
@example(result={None: 1, True: 2})
@example(result={"x": Colour.RED, "y": Number.ONE})
@example(result=Changing())
async def test_any_result(threads: ThreadPoolExecutor, tmp_path: Path, result: Any, is_async: bool) -> None:
    check(await decide(lambda: result, threads, is_async=is_async), tmp_path)


@pytest.mark.usefixtures("_logs")
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@examples()
@given(error=errors())
@example(error=Unprintable(SystemExit(3)))
@example(error=Unprintable(Text("t")))
async def test_any_error(threads: ThreadPoolExecutor, tmp_path: Path, error: BaseException, is_async: bool) -> None:
    def function() -> None:
        raise error

    outcome = await decide(function, threads, is_async=is_async)
    assert isinstance(outcome, Failed)
    assert outcome.retryable != isinstance(error, NonRetryableError)
    check(outcome, tmp_path)
