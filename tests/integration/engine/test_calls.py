"""The calls that every engine has: the same results and errors over every transport."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.engine.clients import BOTH_GENERATIONS, ORDER, Under
from rochallor_worker.devengine.records import Generation
from rochallor_worker.engine.client import ClaimedJob, EngineClient, Instance, InstanceStatus, StepExecution
from rochallor_worker.errors import Conflict, DispatchMismatch, InternalError, NotFound, Rejected


async def one_job(client: EngineClient, job_type: str = "pick") -> ClaimedJob:
    """Claim the only job."""
    [job] = await client.poll_jobs("w", [job_type], 10)
    return job


def recent(time: datetime | None) -> bool:
    return time is not None and time.tzinfo == UTC and abs(datetime.now(UTC) - time) < timedelta(minutes=1)


@BOTH_GENERATIONS
async def test_a_definition_is_kept_as_it_was_uploaded(under: Under, generation: Generation) -> None:
    client = under.client
    uploaded = await client.upload_definition({**ORDER, "name": "New"})
    assert (uploaded.id, uploaded.version, uploaded.name) == ("order", 2, "New")
    assert recent(uploaded.uploaded_at)
    kept = ORDER
    if (
        under.transport == "grpc" and generation == "fenced"
    ):  # engine.md, "Fenced engines": it returns no more than this
        kept = {name: ORDER[name] for name in ("id", "name", "description")}
    assert await client.get_definition("order") == {**kept, "name": "New", "version": 2}
    assert await client.get_definition("order", 1) == {**kept, "version": 1}


@pytest.mark.parametrize(("definition_id", "version"), [("nope", None), ("order", 7)])
async def test_an_unknown_definition_is_not_found(client: EngineClient, definition_id: str, version: int) -> None:
    with pytest.raises(NotFound, match="definition not found"):
        await client.get_definition(definition_id, version)


@BOTH_GENERATIONS
async def test_every_problem_of_a_definition_is_named(client: EngineClient, generation: Generation) -> None:
    steps = [{"id": "a", "name": "A", "type": "SERVICE_TASK", "nextStep": "z"}, {"id": "w", "type": "WAIT"}]
    with pytest.raises(Rejected) as refused:
        await client.upload_definition({"id": "bad", "name": "", "steps": steps})
    for problem in (
        "name is required",
        'step "a" nextStep references unknown step "z"',
        'step "w": name is required',
        'step "w" (WAIT): nextStep is required',
        'step "w" is unreachable from the first step',
        "no END step is reachable from the first step",
    ):
        assert problem in str(refused.value)
    # newer engines use the step's id instead
    assert ('step "a" (SERVICE_TASK): jobType is required' in str(refused.value)) == (generation == "A")


@BOTH_GENERATIONS
async def test_a_user_task_and_a_wait_continue_with_the_variables_sent(client: EngineClient) -> None:
    steps = [
        {"id": "u", "name": "U", "type": "USER_TASK", "nextStep": "w"},
        {"id": "w", "name": "W", "type": "WAIT", "nextStep": "e"},
        {"id": "e", "name": "E", "type": "END"},
    ]
    await client.upload_definition({"id": "people", "name": "People", "steps": steps})
    started = await client.start_instance("people")
    assert (started.status, started.current_step_ids) == (InstanceStatus.WAITING, ["u"])
    await client.complete_user_task(started.id, "u", completed_by="me", variables={"ok": True})
    with pytest.raises(NotFound, match="user task not found"):
        await client.complete_user_task(started.id, "u")
    await client.signal_wait(started.id, "w", {"n": 2})
    ended = await client.get_instance(started.id)
    assert (ended.status, ended.variables) == (InstanceStatus.COMPLETED, {"ok": True, "n": 2})


@pytest.mark.parametrize(
    "definition",
    [{**ORDER, "surprise": 1}, {**ORDER, "steps": "none"}, {**ORDER, "steps": ["a"]}, {**ORDER, "name": {}}, {"id": 5}],
)
async def test_an_invalid_definition_is_rejected(client: EngineClient, definition: dict[str, Any]) -> None:
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


async def test_instances_are_filtered_and_listed_newest_first(client: EngineClient) -> None:
    first = await client.start_instance("order", business_key="k")
    second = await client.start_instance("order", business_key="l")
    other = await client.start_instance("order")
    await client.cancel_instance(other.id)
    assert (await client.list_instances(business_key="k")).items == [first]
    assert (await client.list_instances()).items[1:] == [second, first]
    page = await client.list_instances(definition_id="order", status=InstanceStatus.ACTIVE, page=1, page_size=1)
    assert (page.items, page.total) == ([first], 2)
    assert (await client.list_instances(status=InstanceStatus.CANCELLED)).total == 1
    assert (await client.list_instances(definition_id="nope")).items == []


@BOTH_GENERATIONS
async def test_a_business_key_belongs_to_one_running_instance_on_fenced_engines(
    client: EngineClient, generation: Generation
) -> None:
    first = await client.start_instance("order", business_key="k")
    if generation == "fenced":
        with pytest.raises(Conflict):
            await client.start_instance("order", business_key="k")
        await client.cancel_instance(first.id)
    second = await client.start_instance("order", business_key="k")
    found = await client.list_instances(business_key="k")
    assert ([instance.id for instance in found.items], found.total) == ([second.id, first.id], 2)


async def test_there_is_no_page_before_the_first(client: EngineClient) -> None:
    for listing in (client.list_instances, client.list_definitions):
        with pytest.raises(InternalError, match="OFFSET must not be negative"):
            await listing(page=-1)


@pytest.mark.parametrize("page_size", [-1, 0, 201])
async def test_a_page_of_an_invalid_size_has_20_entries(client: EngineClient, page_size: int) -> None:
    for number in range(21):
        await client.upload_definition({**ORDER, "id": f"o{number}"})
        await client.start_instance("order")
    instances = await client.list_instances(page_size=page_size)
    assert (len(instances.items), instances.total) == (20, 21)
    definitions = await client.list_definitions(page_size=page_size)
    assert (len(definitions.items), definitions.total) == (20, 22)


async def test_the_history_has_each_step(under: Under) -> None:
    client = under.client
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
    if under.transport == "grpc":
        with pytest.raises(NotFound, match='instance "nope" not found'):
            await client.get_instance_history("nope")
    else:
        assert await client.get_instance_history("nope") == []


async def test_a_cancelled_instance_stays_cancelled(client: EngineClient) -> None:
    started = await client.start_instance("order", business_key="k")
    cancelled = await client.cancel_instance(started.id, reason="enough")
    assert (cancelled.status, cancelled.failure_reason) == (InstanceStatus.CANCELLED, "enough")
    assert (cancelled.completed_at, cancelled.business_key) == (None, "")  # the answer omits both
    kept = await client.get_instance(started.id)
    assert (kept.status, kept.failure_reason, kept.business_key) == (InstanceStatus.CANCELLED, "enough", "k")
    assert recent(kept.completed_at)
    for instance_id in (started.id, "nope"):
        with pytest.raises(NotFound, match="no rows in result set"):  # the engine does not distinguish the two either
            await client.cancel_instance(instance_id)
    with pytest.raises(NotFound, match='instance "nope" not found'):
        await client.get_instance("nope")


@BOTH_GENERATIONS
async def test_a_claimed_job_has_all_that_its_handler_needs(under: Under, generation: Generation) -> None:
    started = await under.client.start_instance("order", {"sku": 7})
    job = await one_job(under.client)
    left_out = under.transport == "grpc" and generation == "A"  # engine.md: PollJobs has no variables there
    assert job == ClaimedJob(
        id=job.id,
        instance_id=started.id,
        job_type="pick",
        step_execution_id=(await under.client.get_instance_history(started.id))[0].id,
        retries_remaining=1,
        variables=None if left_out else {"sku": 7},
        created_at=job.created_at,
        locked_at=job.locked_at,
        lock_expires_at=job.lock_expires_at,
    )
    assert job.created_at is not None
    assert timedelta() <= datetime.now(UTC) - job.created_at < timedelta(minutes=1)
    assert job.lock_expires_at is not None
    if under.transport == "grpc":
        assert job.locked_at is None
    else:
        assert job.locked_at is not None
        assert job.lock_expires_at - job.locked_at == timedelta(seconds=30)
    assert await under.client.poll_jobs("w", ["pick"], 10) == []


async def test_jobs_are_claimed_oldest_first_across_types(client: EngineClient) -> None:
    first, second, third = [(await client.start_instance("order")).id for _ in range(3)]
    [job] = await client.poll_jobs("w", ["ship", "pick"], 1)
    await client.complete_job(job.id, "w", {})
    claimed = await client.poll_jobs("w", ["ship", "pick"], 10)
    assert [(job.instance_id, job.job_type) for job in claimed] == [(second, "pick"), (third, "pick"), (first, "ship")]


@pytest.mark.parametrize(("worker_id", "job_types"), [("", ["pick"]), ("w", [])])
async def test_a_poll_names_its_worker_and_types(client: EngineClient, worker_id: str, job_types: list[str]) -> None:
    with pytest.raises(Rejected):
        await client.poll_jobs(worker_id, job_types, 10)


async def test_polls_are_refused_where_kafka_dispatches(under: Under) -> None:
    await under.client.start_instance("order")
    under.state.dispatch_mode = "kafka_outbox"
    with pytest.raises(DispatchMismatch, match="poll path disabled"):
        await under.client.poll_jobs("w", ["pick"], 10)
    under.state.dispatch_mode = "polling"
    assert await under.client.poll_jobs("w", ["pick"], 10)


@BOTH_GENERATIONS
async def test_a_completed_job_moves_its_instance_on_at_once_and_only_once(client: EngineClient) -> None:
    started = await client.start_instance("order", {"sku": 7, "old": 1})
    job = await one_job(client)
    for _ in range(2):
        await client.complete_job(job.id, "w", {"old": 2, "ok": True})
    shipping = await one_job(client, "ship")
    await client.complete_job(shipping.id, "w", {})
    ended = await client.get_instance(started.id)
    assert (ended.status, ended.current_step_ids) == (InstanceStatus.COMPLETED, [])
    assert ended.variables == {"sku": 7, "old": 2, "ok": True}
    assert recent(ended.completed_at)


@BOTH_GENERATIONS
async def test_only_a_fenced_engine_checks_who_owns_a_job(client: EngineClient, generation: Generation) -> None:
    await client.start_instance("order")
    job = await one_job(client)
    await client.complete_job(job.id, "another", {})
    moved_on = await client.poll_jobs("w", ["ship"], 10)
    assert len(moved_on) == (0 if generation == "fenced" else 1)
    if generation == "fenced":
        await client.complete_job(job.id, "w", {})
        assert await client.poll_jobs("w", ["ship"], 10)


@BOTH_GENERATIONS
async def test_each_fail_spends_a_retry(client: EngineClient, generation: Generation) -> None:
    started = await client.start_instance("order")
    job = await one_job(client)
    await client.fail_job(job.id, "w", "boom", retryable=True)
    again = await one_job(client)
    assert (again.key, again.retries_remaining) == (job.key, 0)
    if generation == "fenced":
        assert again.id != job.id
        await client.fail_job(job.id, "w", "boom by the old id", retryable=True)
        assert (await client.get_instance(started.id)).status is InstanceStatus.ACTIVE
    else:
        assert again.id == job.id
    await client.fail_job(again.id, "w", "boom again", retryable=True)
    failed = await client.get_instance(started.id)
    assert (failed.status, failed.failure_reason) == (InstanceStatus.FAILED, "boom again")


@BOTH_GENERATIONS
async def test_a_fail_after_a_complete_fails_only_an_unfenced_job(client: EngineClient, generation: Generation) -> None:
    started = await client.start_instance("order")
    job = await one_job(client)
    await client.complete_job(job.id, "w", {})
    await client.fail_job(job.id, "w", "too late", retryable=False)
    ended = (await client.get_instance(started.id)).status
    assert ended is (InstanceStatus.ACTIVE if generation == "fenced" else InstanceStatus.FAILED)


@BOTH_GENERATIONS
async def test_an_unknown_job_is_not_found(client: EngineClient, generation: Generation) -> None:
    with pytest.raises(NotFound, match='job "nope" not found'):
        await client.complete_job("nope", "w", {})
    reason = "no rows in result set" if generation == "fenced" else 'job "nope" not found'
    with pytest.raises(NotFound, match=reason):
        await client.fail_job("nope", "w", "boom", retryable=True)


async def test_a_task_is_neither_a_user_task_nor_a_wait(client: EngineClient) -> None:
    started = await client.start_instance("order")
    with pytest.raises(NotFound, match="user task not found"):
        await client.complete_user_task(started.id, "z", completed_by="me", variables={"ok": True})
    with pytest.raises(Conflict, match="not currently parked"):
        await client.signal_wait(started.id, "z", {"ok": True})
    for call in (client.complete_user_task, client.signal_wait):
        with pytest.raises(Rejected, match="step type does not match"):
            await call(started.id, "a")
    with pytest.raises(NotFound, match="instance not found"):
        await client.complete_user_task("nope", "a")
    with pytest.raises(NotFound, match="instance not found"):
        await client.signal_wait("nope", "a")
    await client.cancel_instance(started.id)
    for call in (client.complete_user_task, client.signal_wait):
        with pytest.raises(Conflict, match="terminal state"):
            await call(started.id, "z")
