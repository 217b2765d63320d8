"""The watchdog names what blocks the loop."""

import asyncio
import threading
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest

from rochallor_worker import Registry
from rochallor_worker.watchdog import Watchdog

Log = list[MutableMapping[str, Any]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the watchdog has spoken: what blocks the loop in these tests waits for just that."""
    monkeypatch.setattr("rochallor_worker.watchdog.BLOCKED_SECONDS", 0.02)
    spoken = threading.Event()
    tell = Watchdog._tell

    def tell_and_set(self: Watchdog, frame: Any) -> None:
        tell(self, frame)
        spoken.set()

    monkeypatch.setattr(Watchdog, "_tell", tell_and_set)
    return spoken


async def watched(registry: Registry, blocks: Callable[[Watchdog], Any]) -> None:
    """What blocks the loop starts the watchdog first, so that it is there whenever the watchdog looks."""
    watchdog = Watchdog(asyncio.get_running_loop(), registry)
    await blocks(watchdog)
    watchdog.stop()
    await asyncio.to_thread(watchdog._thread.join)


async def test_the_handler_is_named(told: threading.Event, logged: Log) -> None:
    registry = Registry()

    async def greedy(watchdog: Any) -> None:
        watchdog.start()
        told.wait(10)

    registry.handler("greedy")(greedy)
    await watched(registry, greedy)
    [entry] = logged
    assert entry["job_type"] == "greedy"
    assert "test_watchdog.py" in entry["place"]
    assert entry["event"].startswith("a handler blocks the event loop")


async def test_what_is_no_handler_is_named_by_its_place(told: threading.Event, logged: Log) -> None:
    async def library(watchdog: Watchdog) -> None:
        watchdog.start()
        told.wait(10)

    await watched(Registry(), library)
    [entry] = logged
    assert entry["event"] == "the event loop is blocked"
