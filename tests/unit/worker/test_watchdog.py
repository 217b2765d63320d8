"""The watchdog names what blocks the loop."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import pytest

from rochallor_worker import Registry
from rochallor_worker.observability.watchdog import Watchdog, _cpu_seconds
from waiting import wait_until

Log = list[MutableMapping[str, Any]]


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the watchdog has reported: what blocks the loop in these tests waits for it."""
    monkeypatch.setattr("rochallor_worker.observability.watchdog.BLOCKED_SECONDS", 0.02)
    done = threading.Event()
    log_block = Watchdog._log_block

    def log_and_set(self: Watchdog, used_before: dict[int, float]) -> None:
        # on a busy machine the loop may not have got there yet, and would look as if it waited for the interpreter
        wait_until(lambda: asleep(self._loop_thread), every=0.01)
        log_block(self, used_before)
        done.set()

    monkeypatch.setattr(Watchdog, "_log_block", log_and_set)
    return done


def asleep(thread: int) -> bool:
    """Whether the system lets a thread sleep. One that wants the interpreter, which is free meanwhile, does not."""
    if sys.platform != "linux":
        return True
    time.sleep(0.01)
    [number] = [each.native_id for each in threading.enumerate() if each.ident == thread]
    return Path(f"/proc/self/task/{number}/stat").read_text().rpartition(") ")[2].startswith("S")


async def watched(registry: Registry, blocks: Callable[[Watchdog], Any]) -> None:
    """`blocks` starts the watchdog itself, so that the loop is blocked whenever the watchdog checks."""
    watchdog = Watchdog(asyncio.get_running_loop(), registry)
    await blocks(watchdog)
    watchdog.stop()
    await asyncio.to_thread(watchdog._thread.join)


async def test_the_handler_is_named(reported: threading.Event, logged: Log) -> None:
    registry = Registry()

    async def greedy(watchdog: Any) -> None:
        watchdog.start()
        reported.wait(60)

    registry.handler("greedy")(greedy)
    await watched(registry, greedy)
    [entry] = logged
    assert entry["job_type"] == "greedy"
    assert "test_watchdog.py" in entry["place"]
    assert entry["event"].startswith("a handler blocks the event loop")


async def test_blocking_code_outside_of_handlers_is_named_by_its_place(reported: threading.Event, logged: Log) -> None:
    async def library(watchdog: Watchdog) -> None:
        watchdog.start()
        reported.wait(60)

    await watched(Registry(), library)
    [entry] = logged
    assert entry["event"] == "the event loop is blocked"


@pytest.mark.parametrize("sleeps", [False, True])
async def test_a_thread_that_keeps_the_interpreter_busy_is_named_and_not_its_victim(
    reported: threading.Event, logged: Log, monkeypatch: pytest.MonkeyPatch, sleeps: bool
) -> None:
    """A sync handler computes while an async one waits for its turn; or the async one sleeps of its own accord."""
    registry = Registry()
    computing = threading.Event()

    def greedy(_: Any) -> None:
        computing.set()
        reported.wait(60)

    async def innocent(watchdog: Any) -> None:
        watchdog.start()
        reported.wait(60)

    registry.handler("greedy")(greedy)
    registry.handler("innocent")(innocent)
    thread = threading.Thread(target=greedy, args=[None], name="handler_0")
    thread.start()
    computing.wait(60)
    loop, checks = threading.get_ident(), iter(range(1, 100))

    def used() -> dict[int, float]:
        check = next(checks)
        return {loop: 0.001 if sleeps else 0.001 * check, thread.ident or 0: 0.9 * check}

    monkeypatch.setattr("rochallor_worker.observability.watchdog._cpu_seconds", used)
    await watched(registry, innocent)
    thread.join()
    [entry] = logged
    assert entry["job_type"] == ("innocent" if sleeps else "greedy")
    assert entry["event"].startswith("a handler blocks" if sleeps else "a thread keeps the interpreter busy")
    assert sleeps or (entry["thread"], entry["cpu_seconds"]) == ("handler_0", 0.9)


@pytest.mark.skipif("sys.platform != 'linux'")
def test_the_cpu_time_of_each_thread_is_known() -> None:
    before, began = _cpu_seconds(), time.thread_time()
    while time.thread_time() < began + 0.01:
        pass
    me = threading.get_ident()
    assert _cpu_seconds()[me] - before[me] >= 0.01


@pytest.mark.parametrize(
    ("loop_used", "others_used", "blamed"),
    [
        (0.4, [2.0] * 40, "greedy"),  # forty threads that take turns: each uses little, together all there is
        (18.0, [20.0] * 4, "innocent"),  # compiled code on other CPUs; the loop has the interpreter to itself
    ],
)
async def test_the_share_of_the_loop_decides_whether_it_blocks_or_is_blocked(
    reported: threading.Event,
    logged: Log,
    monkeypatch: pytest.MonkeyPatch,
    loop_used: float,
    others_used: list[float],
    blamed: str,
) -> None:
    """CPU time in milliseconds of the 20 that the loop has been blocked for."""
    registry = Registry()
    started = threading.Barrier(len(others_used) + 1)

    def greedy(_: Any) -> None:
        started.wait(60)
        reported.wait(60)

    async def innocent(watchdog: Any) -> None:
        watchdog.start()
        reported.wait(60)

    registry.handler("greedy")(greedy)
    registry.handler("innocent")(innocent)
    threads = [threading.Thread(target=greedy, args=[None]) for _ in others_used]
    for thread in threads:
        thread.start()
    started.wait(60)
    loop, checks = threading.get_ident(), iter(range(1, 100))

    def used() -> dict[int, float]:
        check = next(checks) / 1000
        others = {thread.ident or 0: each * check for thread, each in zip(threads, others_used, strict=True)}
        return {**others, loop: loop_used * check}

    monkeypatch.setattr("rochallor_worker.observability.watchdog._cpu_seconds", used)
    await watched(registry, innocent)
    for thread in threads:
        thread.join()
    [entry] = logged
    assert entry["job_type"] == blamed
