"""/status.json: what it says of a worker, its job types and its jobs in flight."""

import asyncio
import json
from typing import Any

import pytest

from rochallor_worker import Job, Postpone, Registry
from rochallor_worker.execution.runner import Runner
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.observability.status_json import status_json
from rochallor_worker.observability.status_page import Activity
from unit.worker.engines import FaultyEngine, definition, loop_time
from unit.worker.running import running


def state_of(runner: Runner, activity: Activity | None = None) -> dict[str, Any]:
    made = status_json(
        runner,
        activity or Activity(runner.job_types, loop_time),
        Sampler(runner.slots, loop_time),
        transport="rest",
        worker_id="w",
        clock=loop_time,
    )
    found: dict[str, Any] = json.loads(made)
    return found


@pytest.mark.looptime
async def test_a_running_and_a_parked_job_are_told_apart() -> None:
    registry, release = Registry(), asyncio.Event()

    @registry.handler("held", limit=5)
    async def held(_: Job) -> None:
        await release.wait()

    @registry.handler("later", breaker=None)
    async def later(_: Job) -> None:
        raise Postpone("closed", after=60)

    engine = FaultyEngine()
    ids = []
    for job_type in ("held", "later"):
        await engine.upload_definition({**definition(job_type), "id": job_type})
        ids.append((await engine.start_instance(job_type)).id)
    async with running(engine, registry, parallelism=8) as (runner, _):
        await asyncio.sleep(5)
        state = state_of(runner)
        release.set()
    assert (state["problem"], state["slots"]["busy"], state["slots"]["total"]) == ("", 1, 8)
    assert {(job["instanceId"], job["jobType"], job["parked"]) for job in state["jobs"]} == {
        (ids[0], "held", False),
        (ids[1], "later", True),
    }
    assert [job["seconds"] for job in state["jobs"]] == pytest.approx([5, 5], abs=1)
    assert [job["leaseLeft"] for job in state["jobs"]] == pytest.approx([25, 25], abs=1)
    first, second = state["jobTypes"]
    assert (first["running"], first["parked"], first["parallelism"], first["room"]) == (1, 0, 5, 4)
    assert (second["running"], second["parked"], second["breaker"], first["breaker"]) == (0, 1, "off", "closed")


@pytest.mark.looptime
async def test_an_open_breaker_says_why() -> None:
    registry = Registry()

    @registry.handler("bad")
    async def bad(_: Job) -> None:
        raise ConnectionError("no route")

    engine = FaultyEngine()
    await engine.upload_definition(definition("bad"))
    for _ in range(25):
        await engine.start_instance("d")
    async with running(engine, registry) as (runner, _):
        assert state_of(runner)["problem"].startswith("Starting: ")
        await asyncio.sleep(3)
        state = state_of(runner)
    [bad_type] = state["jobTypes"]
    assert (bad_type["breaker"], bad_type["room"]) == ("open", 0)
    assert "no route" in bad_type["breakerReason"]
    assert state["notice"].startswith("BreakerOpen: ")
