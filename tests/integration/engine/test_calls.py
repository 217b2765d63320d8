"""The thirteen calls: the same results and the same errors over every transport."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.engine.clients import ORDER, Under
from rochallor_worker.engine.base import ClaimedJob, EngineClient, Instance, InstanceStatus, StepExecution
from rochallor_worker.errors import Conflict, DispatchMismatch, InternalError, NotFound, Rejected


async def one_job(client: EngineClient, job_type: str = "pick") -> ClaimedJob:
    """Claim the one job that there is."""
    [job] = await client.poll_jobs("w", [job_type], 10)
    return job


def recent(time: datetime | None) -> bool:
    return time is not None and time.tzinfo == UTC and abs(datetime.now(UTC) - time) < timedelta(minutes=1)


async def test_a_definition_is_kept_as_it_was_uploaded(client: EngineClient) -> None:
    uploaded = await client.upload_definition({**ORDER, "name": "New"})
    assert (uploaded.id, uploaded.version, uploaded.name) == ("order", 2, "New")
    assert recent(uploaded.uploaded_at)
    assert await client.get_definition("order") == {**ORDER, "name": "New", "version": 2}
    assert await client.get_definition("order", 1) == {**ORDER, "version": 1}


@pytest.mark.parametrize(("definition_id", "version"), [("nope", None), ("order", 7)])
async def test_an_unknown_definition_is_not_found(client: EngineClient, definition_id: str, version: int) -> None:
    with pytest.raises(NotFound, match="definition not found"):
        await client.get_definition(definition_id, version)


async def test_every_problem_of_a_definition_is_named(client: EngineClient) -> None:
    steps = [{"id": "a", "name": "A", "type": "SERVICE_TASK", "nextStep": "z"}, {"id": "w", "type": "WAIT"}]
    with pytest.raises(Rejected) as refused:
        await client.upload_definition({"id": "bad", "name": "", "steps": steps})
    for problem in ("name is required", "jobType is required", 'unknown step "z"', "type WAIT is not supported"):
        assert problem in str(refused.value)


@pytest.mark.parametrize(
    "definition",
    [{**ORDER, "surprise": 1}, {**ORDER, "steps": "none"}, {**ORDER, "steps": ["a"]}, {**ORDER, "name": {}}, {"id": 5}],
)
async def test_what_is_no_definition_is_rejected(client: EngineClient, definition: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        await client.upload_definition(definition)


async def test_definitions_are_listed_by_id_in_pages(client: EngineClient) -> None:
    for name in ("b", "a"):
        await client.upload_definition({**ORDER, "id": name, "name": f"Shop {name}"})
    found = await client.list_definitions(keyword="SHOP", page_size=1)
    assert [(entry.id, entry.version, entry.name) for entry in found.items] == [("a", 1, "Shop a")]
    assert found.total == 2
    assert [entry.id for entry in (await client.list_definitions(keyword="shop", page=1, page_size=1)).items] == ["b"]
    assert (await client.list_definitions()).total == 3
    assert (await client.list_definitions(keyword="none")).items == []


async def test_a_started_instance_waits_at_its_first_step(client: EngineClient) -> None:
    await client.upload_definition({**ORDER, "name": "Newer"})
    started = await client.start_instance("order", {"sku": 7}, version=1, business_key="k")
    assert recent(started.started_at)
    assert started == Instance(
        id=started.id,
        definition_id="order",
        definition_version=1,
        status=InstanceStatus.ACTIVE,
        current_step_ids=["a"],
        variables={"sku": 7},
        started_at=started.started_at,
        business_key="k",
    )
    assert await client.get_instance(started.id) == started


async def test_an_instance_needs_neither_variables_nor_a_version(client: EngineClient) -> None:
    started = await client.start_instance("order")
    assert (started.variables, started.definition_version, started.business_key) == ({}, 1, "")


@pytest.mark.parametrize(("definition_id", "version"), [("nope", None), ("order", 7)])
async def test_no_instance_of_an_unknown_definition(client: EngineClient, definition_id: str, version: int) -> None:
    with pytest.raises(NotFound, match="definition not found"):
        await client.start_instance(definition_id, version=version)


async def test_instances_are_listed_newest_first_by_what_is_asked_for(client: EngineClient) -> None:
    first = await client.start_instance("order", business_key="k")
    second = await client.start_instance("order", business_key="k")
    other = await client.start_instance("order")
    await client.cancel_instance(other.id)
    assert (await client.list_instances(business_key="k")).items == [second, first]
    page = await client.list_instances(definition_id="order", status=InstanceStatus.ACTIVE, page=1, page_size=1)
    assert (page.items, page.total) == ([first], 2)
    assert (await client.list_instances(status=InstanceStatus.CANCELLED)).total == 1
    assert (await client.list_instances(definition_id="nope")).items == []


@pytest.mark.parametrize(("page", "page_size"), [(-1, 20), (0, 201)])
async def test_a_page_that_there_cannot_be_is_rejected(client: EngineClient, page: int, page_size: int) -> None:
    with pytest.raises(Rejected):
        await client.list_instances(page=page, page_size=page_size)
    with pytest.raises(Rejected):
        await client.list_definitions(page=page, page_size=page_size)


async def test_the_history_tells_of_each_step(client: EngineClient) -> None:
    started = await client.start_instance("order")
    job = await one_job(client)
    await client.complete_job(job.id, "w", {})
    shipping = await one_job(client, "ship")
    await client.fail_job(shipping.id, "w", "no box", retryable=False)
    picked, shipped = await client.get_instance_history(started.id)
    assert picked == StepExecution(
        id=job.step_execution_id,
        instance_id=started.id,
        step_id="a",
        step_type="SERVICE_TASK",
        attempt_number=1,
        status="COMPLETED",
        started_at=started.started_at,
        ended_at=shipped.started_at,
        failure_reason=None,
    )
    assert (shipped.step_id, shipped.status, shipped.failure_reason) == ("b", "FAILED", "no box")
    with pytest.raises(NotFound, match="instance not found"):
        await client.get_instance_history("nope")


async def test_a_cancelled_instance_stays_cancelled(under: Under) -> None:
    started = await under.client.start_instance("order")
    cancelled = await under.client.cancel_instance(started.id, reason="enough")
    assert (cancelled.status, cancelled.failure_reason) == (InstanceStatus.CANCELLED, "enough")
    assert recent(cancelled.completed_at)
    # the one error that differs (engine.md): REST answers 500, gRPC FAILED_PRECONDITION
    with pytest.raises(Conflict if under.transport == "grpc" else InternalError, match="instance is CANCELLED"):
        await under.client.cancel_instance(started.id)
    for call in (under.client.cancel_instance, under.client.get_instance):
        with pytest.raises(NotFound, match="instance not found"):
            await call("nope")


async def test_a_claimed_job_says_what_is_to_be_done(under: Under) -> None:
    started = await under.client.start_instance("order", {"sku": 7})
    job = await one_job(under.client)
    over_grpc = under.transport == "grpc"  # engine.md: PollJobs leaves the variables out
    assert job == ClaimedJob(
        id=job.id,
        instance_id=started.id,
        job_type="pick",
        step_execution_id=(await under.client.get_instance_history(started.id))[0].id,
        retries_remaining=1,
        variables=None if over_grpc else {"sku": 7},
    )
    assert await under.client.poll_jobs("w", ["pick"], 10) == []


async def test_jobs_come_oldest_first_over_all_types(client: EngineClient) -> None:
    first, second, third = [(await client.start_instance("order")).id for _ in range(3)]
    [job] = await client.poll_jobs("w", ["ship", "pick"], 1)
    await client.complete_job(job.id, "w", {})
    claimed = await client.poll_jobs("w", ["ship", "pick"], 10)
    assert [(job.instance_id, job.job_type) for job in claimed] == [(second, "pick"), (third, "pick"), (first, "ship")]


@pytest.mark.parametrize(("worker_id", "job_types"), [("", ["pick"]), ("w", [])])
async def test_a_poll_names_its_worker_and_types(client: EngineClient, worker_id: str, job_types: list[str]) -> None:
    with pytest.raises(Rejected):
        await client.poll_jobs(worker_id, job_types, 10)


async def test_polling_is_off_where_kafka_dispatches(under: Under) -> None:
    await under.client.start_instance("order")
    under.state.dispatch_mode = "kafka_outbox"
    with pytest.raises(DispatchMismatch, match="poll path disabled"):
        await under.client.poll_jobs("w", ["pick"], 10)
    under.state.dispatch_mode = "polling"
    assert await under.client.poll_jobs("w", ["pick"], 10)


async def test_a_completed_job_moves_its_instance_on_at_once_and_only_once(client: EngineClient) -> None:
    started = await client.start_instance("order", {"sku": 7, "old": 1})
    job = await one_job(client)
    for _ in range(2):
        await client.complete_job(job.id, "anyone", {"old": 2, "ok": True})
    shipping = await one_job(client, "ship")
    await client.complete_job(shipping.id, "w", {})
    ended = await client.get_instance(started.id)
    assert (ended.status, ended.current_step_ids) == (InstanceStatus.COMPLETED, [])
    assert ended.variables == {"sku": 7, "old": 2, "ok": True}
    assert recent(ended.completed_at)


async def test_each_fail_spends_a_retry(client: EngineClient) -> None:
    started = await client.start_instance("order")
    job = await one_job(client)
    await client.fail_job(job.id, "w", "boom", retryable=True)
    again = await one_job(client)
    assert (again.id, again.retries_remaining) == (job.id, 0)
    await client.fail_job(job.id, "w", "boom again", retryable=True)
    failed = await client.get_instance(started.id)
    assert (failed.status, failed.failure_reason) == (InstanceStatus.FAILED, "boom again")


async def test_a_fail_after_a_complete_fails_the_job(client: EngineClient) -> None:
    started = await client.start_instance("order")
    job = await one_job(client)
    await client.complete_job(job.id, "w", {})
    await client.fail_job(job.id, "w", "too late", retryable=False)
    assert (await client.get_instance(started.id)).status is InstanceStatus.FAILED


async def test_an_unknown_job_is_not_found(client: EngineClient) -> None:
    with pytest.raises(NotFound, match='job "nope" not found'):
        await client.complete_job("nope", "w", {})
    with pytest.raises(NotFound, match='job "nope" not found'):
        await client.fail_job("nope", "w", "boom", retryable=True)


async def test_there_are_no_user_tasks_and_no_waits(client: EngineClient) -> None:
    started = await client.start_instance("order")
    with pytest.raises(NotFound, match="user task not found"):
        await client.complete_user_task(started.id, "a", completed_by="me", variables={"ok": True})
    with pytest.raises(Conflict, match="not currently parked"):
        await client.signal_wait(started.id, "a", {"ok": True})
    with pytest.raises(NotFound, match="instance not found"):
        await client.complete_user_task("nope", "a")
    with pytest.raises(NotFound, match="instance not found"):
        await client.signal_wait("nope", "a")
