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

from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue

ERRORS = Backoff(first=1, cap=8, jitter=0)
POLLS = Backoff(first=2, cap=3, factor=1.5, jitter=0)
Work = Callable[[str], Awaitable[Result]]


@asynccontextmanager
async def running(work: Work, workers: int = 2, pause: float = 0.0) -> AsyncIterator[WorkQueue[str]]:
    """A queue whose keys are grouped by their first letter."""
    queue = WorkQueue(
        work,
        workers=workers,
        pause=pause,
        group=lambda key: key[0],
        after_error=ERRORS,
        while_unsettled=POLLS,
    )
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.wait([task])


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.looptime
async def test_a_waiting_key_runs_once() -> None:
    runs: list[str] = []

    async def work(key: str) -> Result:
        runs.append(key)
        return Result.SETTLED

    async with running(work) as queue:
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        assert queue.depth == 2
        await asyncio.sleep(1)
    assert runs == ["a", "b"]
    assert queue.depth == 0


@pytest.mark.looptime
async def test_a_key_added_while_it_runs_runs_once_more() -> None:
    starts: list[float] = []

    async def work(_: str) -> Result:
        starts.append(now())
        await asyncio.sleep(10)
        return Result.SETTLED

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("a")
        queue.add("a")
        assert queue.depth == 1
        await asyncio.sleep(100)
    assert starts == [0, 10]


@pytest.mark.looptime
async def test_a_slow_key_does_not_delay_others() -> None:
    done: list[str] = []

    async def work(key: str) -> Result:
        await asyncio.sleep(100 if key == "slow" else 0)
        done.append(key)
        return Result.SETTLED

    async with running(work) as queue:
        for key in ("slow", "a", "b", "c"):
            queue.add(key)
        await asyncio.sleep(1)
    assert done == ["a", "b", "c"]


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Result.FAILED, [0, 1, 3, 7, 15, 23]),
        (Result.REFUSED, [0, 1, 3, 7, 15, 23]),
        (Result.UNSETTLED, [0, 2, 5, 8, 11, 14]),
    ],
)
async def test_the_waits_grow_up_to_their_cap(outcome: Result, expected: list[float]) -> None:
    starts: list[float] = []

    async def work(_: str) -> Result:
        starts.append(now())
        return outcome

    async with running(work) as queue:
        queue.add("a")
        await asyncio.sleep(expected[-1] + 0.5)
    assert starts == expected


@pytest.mark.looptime
async def test_adding_a_key_ends_its_wait_and_a_settled_run_resets_its_backoff() -> None:
    outcomes = iter([Result.FAILED, Result.FAILED, Result.SETTLED, Result.FAILED, Result.SETTLED])
    starts: list[float] = []

    async def work(_: str) -> Result:
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

    async def work(_: str) -> Result:
        starts.append(now())
        if len(starts) == 1:
            raise RuntimeError("boom")
        return Result.SETTLED

    with caplog.at_level(logging.ERROR):
        async with running(work) as queue:
            queue.add("a")
            await asyncio.sleep(10)
    assert starts == [0, 1]
    assert "boom" in caplog.text


@pytest.mark.looptime
async def test_a_busy_key_runs_no_more_often_than_its_pause_allows() -> None:
    starts: list[float] = []

    async def work(_: str) -> Result:
        starts.append(now())
        return Result.SETTLED

    async with running(work, pause=1) as queue:
        for _ in range(25):  # every 0.2 s for 5 s
            queue.add("a")
            await asyncio.sleep(0.2)
        await asyncio.sleep(10)
        queue.add("a")
        await asyncio.sleep(0)
    assert starts == [0, 1, 2, 3, 4, 5, 15], "the first one, and one after a rest, at once; the last change too"


@pytest.mark.looptime
async def test_many_busy_keys_of_one_group_delay_no_other_group() -> None:
    """S8: 150 resources of one namespace used a Secret that changed 5 times a second; others' edits took 3–6.5 s."""
    took: list[float] = []

    async def work(key: str) -> Result:
        await asyncio.sleep(0.1)
        if key == "neighbour":
            took.append(now() - added)
        return Result.SETTLED

    async with running(work, workers=8, pause=0.5) as queue:
        for step in range(50):
            for number in range(150):
                queue.add(f"tenant-{number}")
            await asyncio.sleep(0.2)
            if step % 5 == 4:
                added = now()
                queue.add("neighbour")
    assert len(took) >= 8
    assert max(took) <= 0.3, "a run of its own after the end of one of theirs"


# One step of a story: at most so many seconds pass, then the key is added.
STEPS = st.lists(st.tuples(st.floats(0, 5), st.sampled_from("abc")), min_size=1, max_size=30)
RUNS = st.lists(st.tuples(st.floats(0, 4), st.sampled_from(Result)), min_size=1, max_size=10)


@given(steps=STEPS, runs=RUNS, pause=st.sampled_from([0.0, 0.5, 3.0]))
def test_every_add_is_followed_by_a_run_that_started_later_and_runs_of_a_key_never_overlap(
    steps: list[tuple[float, str]], runs: list[tuple[float, Result]], pause: float
) -> None:
    added: dict[str, float] = {}
    started: dict[str, float] = {}
    at_work: Counter[str] = Counter()

    async def story() -> None:
        plan = iter(runs)

        async def work(key: str) -> Result:
            assert at_work[key] == 0
            at_work[key] += 1
            started[key] = now()
            seconds, outcome = next(plan, (0.0, Result.SETTLED))
            await asyncio.sleep(seconds)
            at_work[key] -= 1
            return outcome

        async with running(work, pause=pause) as queue:
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
