from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import looptime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.backoff import Backoff
from rochallor_operator.queue import Outcome, WorkQueue

ERRORS = Backoff(first=1, cap=8, jitter=0)
POLLS = Backoff(first=2, cap=3, factor=1.5, jitter=0)
Work = Callable[[str], Awaitable[Outcome]]


@asynccontextmanager
async def running(work: Work, workers: int = 2) -> AsyncIterator[WorkQueue[str]]:
    queue = WorkQueue(work, workers=workers, after_error=ERRORS, while_unsettled=POLLS)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.wait([task])


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_a_key_that_waits_is_run_once() -> None:
    runs: list[str] = []

    async def work(key: str) -> Outcome:
        runs.append(key)
        return Outcome.SETTLED

    async with running(work) as queue:
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        assert queue.depth == 2
        await asyncio.sleep(1)
    assert runs == ["a", "b"]
    assert queue.depth == 0


@pytest.mark.looptime
async def test_a_key_added_while_it_runs_is_run_once_more() -> None:
    starts: list[float] = []

    async def work(_: str) -> Outcome:
        starts.append(now())
        await asyncio.sleep(10)
        return Outcome.SETTLED

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("a")
        queue.add("a")
        assert queue.depth == 1
        await asyncio.sleep(100)
    assert starts == [0, 10]


@pytest.mark.looptime
async def test_a_slow_key_does_not_hold_up_others() -> None:
    done: list[str] = []

    async def work(key: str) -> Outcome:
        await asyncio.sleep(100 if key == "slow" else 0)
        done.append(key)
        return Outcome.SETTLED

    async with running(work) as queue:
        for key in ("slow", "a", "b", "c"):
            queue.add(key)
        await asyncio.sleep(1)
    assert done == ["a", "b", "c"]


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.FAILED, [0, 1, 3, 7, 15, 23]),
        (Outcome.REFUSED, [0, 1, 3, 7, 15, 23]),
        (Outcome.UNSETTLED, [0, 2, 5, 8, 11, 14]),
    ],
)
async def test_the_waits_grow_up_to_their_cap(outcome: Outcome, expected: list[float]) -> None:
    starts: list[float] = []

    async def work(_: str) -> Outcome:
        starts.append(now())
        return outcome

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(expected[-1] + 0.5)
    assert starts == expected


@pytest.mark.looptime
async def test_adding_a_key_ends_its_wait_and_a_settled_run_its_growth() -> None:
    outcomes = iter([Outcome.FAILED, Outcome.FAILED, Outcome.SETTLED, Outcome.FAILED, Outcome.SETTLED])
    starts: list[float] = []

    async def work(_: str) -> Outcome:
        starts.append(now())
        return next(outcomes)

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(1.5)  # failed at 0 and 1; the next try would be at 3
        queue.add("a")
        await asyncio.sleep(10)
        queue.add("a")
        await asyncio.sleep(10)
    assert starts == [0, 1, 1.5, 11.5, 12.5]


@pytest.mark.looptime
async def test_a_run_that_raises_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    starts: list[float] = []

    async def work(_: str) -> Outcome:
        starts.append(now())
        if len(starts) == 1:
            raise RuntimeError("boom")
        return Outcome.SETTLED

    with caplog.at_level(logging.ERROR):
        async with running(work) as queue:
            queue.add("a")
            await asyncio.sleep(10)
    assert starts == [0, 1]
    assert "boom" in caplog.text


# One step of a story: at most so many seconds pass, then the key is added.
STEPS = st.lists(st.tuples(st.floats(0, 5), st.sampled_from("abc")), min_size=1, max_size=30)
RUNS = st.lists(st.tuples(st.floats(0, 4), st.sampled_from(Outcome)), min_size=1, max_size=10)


@given(steps=STEPS, runs=RUNS)
def test_every_add_is_followed_by_a_run_that_started_later_and_runs_of_a_key_never_overlap(
    steps: list[tuple[float, str]], runs: list[tuple[float, Outcome]]
) -> None:
    added: dict[str, float] = {}
    started: dict[str, float] = {}
    at_work: Counter[str] = Counter()

    async def story() -> None:
        plan = iter(runs)

        async def work(key: str) -> Outcome:
            assert at_work[key] == 0
            at_work[key] += 1
            started[key] = now()
            seconds, outcome = next(plan, (0.0, Outcome.SETTLED))
            await asyncio.sleep(seconds)
            at_work[key] -= 1
            return outcome

        async with running(work) as queue:
            for seconds, key in steps:
                await asyncio.sleep(seconds)
                added[key] = now()
                queue.add(key)
            await asyncio.sleep(1000)
        assert queue.depth == 0

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(story())
    for key, time in added.items():
        assert started[key] >= time


@given(st.integers(0, 10_000))
def test_a_delay_stays_within_its_bounds(attempt: int) -> None:
    backoff = Backoff(first=0.5, cap=60, factor=2, jitter=0.25)
    full = min(60, 0.5 * 2 ** min(attempt, 64))
    assert full * 0.75 <= backoff.delay(attempt) <= full
