"""Slots of their own for handlers in processes; fewer slots than threads where all handlers are plain functions."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rochallor_worker import InstanceStatus, Registry, Runner
from rochallor_worker.cli import process
from rochallor_worker.cli.settings import Settings
from rochallor_worker.events import Event, Parked
from rochallor_worker.execution.lanes import lanes
from rochallor_worker.handlers.processes import Processes
from unit.worker import process_handlers
from unit.worker.engines import FaultyEngine, definition
from unit.worker.running import finished, nothing, start
from unit.worker.test_processes import file


def plain(_: Any) -> None: ...


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("async", [(["async"], 100)]),
        ("plain", [(["plain"], 8)]),
        ("async plain", [(["async", "plain"], 100)]),
        ("process", [(["process"], 2)]),
        ("plain process", [(["plain"], 8), (["process"], 2)]),
        ("process async plain", [(["async", "plain"], 100), (["process"], 2)]),
    ],
)
def test_how_many_slots_there_are_for_which_job_types(kinds: str, expected: list[tuple[list[str], int]]) -> None:
    registry = Registry()
    registry.handler("async")(nothing)
    registry.handler("plain")(plain)
    registry.handler("process", executor="process")(plain)
    asked: list[tuple[Sequence[str], int]] = []

    def source_of(job_types: Sequence[str], total: int) -> Any:
        asked.append((job_types, total))

    made = lanes(
        [registry[kind] for kind in kinds.split()],
        parallelism=100,
        threads=8,
        children=2,
        clock=lambda: 0.0,
        source_of=source_of,
    )
    assert [(lane.job_types, lane.slots.total) for lane in made] == expected == asked


async def test_jobs_in_processes_are_claimed_one_a_child_and_hold_up_no_other(tmp_path: Path) -> None:
    engine = FaultyEngine()
    registry = Registry()
    registry.handler("wait", executor="process")(process_handlers.wait)
    registry.handler("quick")(nothing)
    await engine.upload_definition(definition("wait"))
    for _ in range(5):
        await engine.start_instance("d", {"folder": str(tmp_path)})
    runner = Runner(
        engine, registry, worker_id="w", parallelism=2, poll_interval=0.01, drain_timeout=0.0, processes=Processes(1)
    )
    task = asyncio.create_task(runner.run())
    await file(tmp_path / "pids")
    await start(engine, "quick", count=20)
    async with asyncio.timeout(20):
        # a slot is free again a moment after the engine has the result
        while finished(engine, InstanceStatus.COMPLETED) < 20 or runner.slots.busy > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (runner.slots.busy, runner.slots.total) == (1, 3)
    assert not runner.unhealthy
    runner.stop()
    assert len(await task) == 1


async def test_a_job_that_gets_no_thread_until_its_limit_is_postponed() -> None:
    engine = FaultyEngine()
    registry = Registry()
    release, postponed = threading.Event(), asyncio.Event()

    @registry.handler("plain", timeout=0.2)
    def block(_: Any) -> None:
        release.wait(20)

    def note(event: Event) -> None:
        if isinstance(event, Parked):
            postponed.set()

    registry.handler("async")(nothing)
    await start(engine, "plain", count=2)
    runner = Runner(engine, registry, worker_id="w", parallelism=2, threads=1, poll_interval=0.01)
    runner.observers.append(note)
    task = asyncio.create_task(runner.run())
    async with asyncio.timeout(20):
        await postponed.wait()
        release.set()
        while finished(engine, InstanceStatus.COMPLETED) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    runner.stop()
    await task


def test_the_start_says_where_plain_functions_are_fewer_than_slots(
    monkeypatch: pytest.MonkeyPatch, logged: list[dict[str, Any]]
) -> None:
    intervals: list[float] = []
    monkeypatch.setattr("sys.setswitchinterval", intervals.append)
    process._make_room_for_the_loop(Settings(parallelism=64, worker_id="w"))
    assert not logged
    process._make_room_for_the_loop(Settings(parallelism=200, worker_id="w"))
    assert (logged[0]["threads"], logged[0]["parallelism"]) == (64, 200)
    assert intervals == [0.0005] * 2
