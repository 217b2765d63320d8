"""Which step failed an instance, which failures are alike, and running them again at a rate."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_worker.asking.failures import Failure, failed_step, grouped, look_for, shape
from rochallor_worker.asking.instances import find, newest
from rochallor_worker.asking.retrying import retry_each
from rochallor_worker.engine.client import EngineClient, Instance, StepExecution
from rochallor_worker.errors import NotFound, NotSupported, Unreachable
from unit.worker.engines import FaultyEngine, definition

NOW = datetime(2026, 11, 30, tzinfo=UTC)


async def fail(engine: EngineClient, *messages: str, keys: bool = False) -> list[str]:
    """Start an instance for each message and fail its first job with it; returns their ids."""
    await engine.upload_definition(definition("charge", "mail"))
    started = [
        await engine.start_instance("d", {"n": n}, business_key=f"key-{n}" if keys else "")
        for n in range(len(messages))
    ]
    for message, job in zip(messages, await engine.poll_jobs("w", ["charge"], 100), strict=True):
        await engine.fail_job(job.id, "w", message, retryable=False)
    return [one.id for one in started]


def entry(number: int, step: str, status: str = "FAILED", reason: str = "") -> StepExecution:
    return StepExecution(
        id=f"{number:026}",
        instance_id="i",
        step_id=step,
        step_type="SERVICE_TASK",
        attempt_number=1,
        status=status,
        failure_reason=reason,
    )


def failure(message: str, step: str = "s", minute: int = 0) -> Failure:
    at = NOW + timedelta(minutes=minute)
    instance = Instance(
        id=message,
        definition_id="d",
        definition_version=1,
        status="FAILED",
        failure_reason=message,
        started_at=at,
        completed_at=at,
    )
    return Failure(instance, step, "t", known=True)


@pytest.mark.parametrize(
    ("history", "step"),
    [
        ([], ""),
        ([entry(1, "a", "COMPLETED")], ""),
        ([entry(1, "a"), entry(2, "a", "RUNNING")], ""),
        ([entry(1, "a"), entry(2, "b", "COMPLETED"), entry(3, "c")], "c"),
        ([entry(3, "c"), entry(1, "a", reason="why")], "a"),
    ],
)
def test_the_step_that_failed_an_instance(history: list[StepExecution], step: str) -> None:
    assert failed_step(history, "why") == step


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 10001 not found", "order 10002 not found"),
        ("no file 01M8NJ58ZSW76BB8TB0WXRZC45", "no file 01M8NJ58ZRW76BB8TB0WXRZC3Z"),
        ("at 2026-11-30T06:27:00Z", "at 2026-12-01T16:17:10Z"),
    ],
)
def test_messages_that_differ_in_ids_are_alike(one: str, other: str) -> None:
    assert shape(one) == shape(other)


def test_short_numbers_make_a_difference() -> None:
    assert shape("HTTP 503") != shape("HTTP 404")
    assert shape("step-2 of v1.2") == "step-2 of v1.2".replace("step-2", "…")


@given(st.text())
def test_a_shape_has_a_shape_of_its_own(message: str) -> None:
    assert shape(shape(message)) == shape(message)


def test_the_largest_group_is_first_and_the_latest_failure_speaks_for_it() -> None:
    groups = grouped(
        [failure("HTTP 503"), failure("order 10001", minute=1), failure("order 10002", minute=2), failure("x", "b")]
    )
    assert [len(group.failures) for group in groups] == [2, 1, 1]
    assert groups[0].latest.message == "order 10002"


@given(st.lists(st.tuples(st.text(max_size=8), st.sampled_from(["a", "b"]), st.integers(0, 99))))
def test_grouping_loses_nothing(made: list[tuple[str, str, int]]) -> None:
    failures = [failure(*one) for one in made]
    found = [one for group in grouped(failures) for one in group.failures]
    assert sorted(found, key=repr) == sorted(failures, key=repr)


async def test_failures_are_found_with_their_job_type() -> None:
    engine = FaultyEngine()
    ids = await fail(engine, "one", "two\nlines")
    found, total = await look_for(engine, 10)
    assert total == 2
    assert {(one.instance.id, one.step_id, one.job_type, one.message) for one in found} == {
        (ids[0], "step-0", "charge", "one"),
        (ids[1], "step-0", "charge", "two lines"),
    }
    assert engine.count("get_definition") == 1


async def test_what_failed_earlier_is_left_out() -> None:
    engine = FaultyEngine()
    await fail(engine, "one")
    engine.advance(100)
    await fail(engine, "two")
    since = datetime.fromtimestamp(engine.state.now() - 50, UTC)
    assert [one.message for one in (await look_for(engine, 10, since=since))[0]] == ["two"]
    assert [one.message for one in (await look_for(engine, 1))[0]] == ["two"]


async def test_more_than_one_page_is_listed() -> None:
    engine = FaultyEngine()
    await engine.upload_definition(definition("charge"))
    ids = [(await engine.start_instance("d")).id for _ in range(450)]
    found = await newest(engine, 410)
    assert found.total == 450
    assert [one.id for one in found.items] == ids[::-1][:410]


async def test_an_instance_is_found_by_id_and_by_key_a_running_one_first() -> None:
    engine = FaultyEngine()
    ended = (await fail(engine, "one", keys=True))[0]
    assert (await find(engine, "key-0")).id == ended
    running = await engine.start_instance("d", business_key="key-0")
    assert (await find(engine, "key-0")).id == running.id
    assert (await find(engine, ended)).id == ended
    for unknown in ("nothing", ""):
        with pytest.raises(NotFound, match="no instance has the id or the business key"):
            await find(engine, unknown)


@pytest.mark.looptime
async def test_retries_keep_their_rate_and_go_on_past_a_refusal() -> None:
    engine = FaultyEngine(before=lambda name, _: 0.3 if name == "retry_step" else None)
    ids = await fail(engine, "a", "b", "c", "d")
    found, _ = await look_for(engine, 10)
    await engine.retry_step(ids[1], "step-0")
    began = asyncio.get_running_loop().time()
    results = [(one.instance.id, why) async for one, why in retry_each(engine, found, 2)]
    assert [at - began for at in engine.times("retry_step")[1:]] == pytest.approx([0, 0.5, 1, 1.5])
    assert [name for name, why in results if why] == [ids[1]]
    assert all(engine.state.instances[name].status == "ACTIVE" for name in ids)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"fleet": "A"}, NotSupported),
        (
            {"before": lambda name, number: Unreachable("x") if (name, number) == ("retry_step", 1) else None},
            Unreachable,
        ),
    ],
)
async def test_what_concerns_all_retries_stops_them(options: dict[str, Any], error: type[Exception]) -> None:
    engine = FaultyEngine(**options)
    await fail(engine, "a", "b", "c")
    found, _ = await look_for(engine, 10)
    with pytest.raises(error):
        [one async for one in retry_each(engine, found, 1000)]
    assert sum(one.status == "FAILED" for one in engine.state.instances.values()) >= 2


async def test_an_instance_without_a_failed_step_is_not_retried() -> None:
    engine = FaultyEngine()
    [(_, why)] = [one async for one in retry_each(engine, [failure("x", step="")], 10)]
    assert "start another instance" in why
    assert engine.count("retry_step") == 0
