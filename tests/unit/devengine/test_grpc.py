"""What the gRPC interface does otherwise than REST (engine.md: "What differs from REST"), below any client of ours."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from rochallor_worker.devengine import DevEngine
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb

Code = grpc.StatusCode
Caller = Callable[..., Awaitable[Any]]
ORDER = pb.WorkflowDefinition(
    id="order",
    name="Order",
    steps=[
        pb.WorkflowStep(id="a", name="A", type="STEP_TYPE_SERVICE_TASK", job_type="pick", next_step="e"),
        pb.WorkflowStep(id="e", name="E", type="STEP_TYPE_END"),
    ],
)


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    """Send a request, given by its fields, to an engine that knows ORDER."""
    async with DevEngine(grpc_port=0) as engine, grpc.aio.insecure_channel(engine.grpc_target) as channel:

        async def send(method: str, **fields: Any) -> Any:
            request = getattr(pb, f"{method}Request")(**fields)
            stub = channel.unary_unary(
                f"/workflow.v1.WorkflowEngine/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=getattr(pb, f"{method}Response").FromString,
            )
            return await stub(request)

        assert (await send("UploadDefinition", definition=ORDER)).version == 1
        yield send


async def test_a_polled_job_has_neither_variables_nor_a_step(call: Caller) -> None:
    started = (await call("StartInstance", definition_id="order", variables={"sku": 7})).instance
    answer = await call("PollJobs", worker_id="w", job_types=["pick"], max_jobs=1, lease_seconds=600)
    [job] = answer.jobs
    assert not job.HasField("variables")
    assert job.step_id == ""
    # lease_seconds is ignored
    assert job.lock_expires_at.seconds - started.started_at.seconds in {30, 31}
    assert (await call("PollJobs", worker_id="w", job_types=["pick"])).jobs == []


async def test_pages_begin_at_their_default_size(call: Caller) -> None:
    for _ in range(21):
        await call("StartInstance", definition_id="order")
    answer = await call("ListInstances")
    assert (len(answer.instances), answer.total) == (20, 21)


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        ("GetDefinition", {}, Code.INVALID_ARGUMENT),
        ("GetDefinition", {"id": "x"}, Code.NOT_FOUND),
        ("StartInstance", {}, Code.INVALID_ARGUMENT),
        ("StartInstance", {"definition_id": "x"}, Code.INTERNAL),
        ("GetInstance", {}, Code.INVALID_ARGUMENT),
        ("GetInstance", {"id": "x"}, Code.NOT_FOUND),
        ("GetInstanceHistory", {}, Code.INVALID_ARGUMENT),
        ("GetInstanceHistory", {"id": "x"}, Code.NOT_FOUND),
        ("CancelInstance", {}, Code.INVALID_ARGUMENT),
        ("CancelInstance", {"id": "x"}, Code.NOT_FOUND),
        ("ListInstances", {"status": 99}, Code.INVALID_ARGUMENT),
        ("ListInstances", {"page_size": -1}, Code.INVALID_ARGUMENT),
        ("ListDefinitions", {"page": -1}, Code.INVALID_ARGUMENT),
        ("UploadDefinition", {}, Code.INVALID_ARGUMENT),
        ("UploadDefinition", {"definition": {"id": "x", "steps": [{"type": 99}]}}, Code.INVALID_ARGUMENT),
        ("PollJobs", {"job_types": ["pick"]}, Code.INVALID_ARGUMENT),
        ("PollJobs", {"worker_id": "w"}, Code.INVALID_ARGUMENT),
        ("CompleteJob", {}, Code.INVALID_ARGUMENT),
        ("CompleteJob", {"job_id": "x"}, Code.INTERNAL),
        ("FailJob", {}, Code.INVALID_ARGUMENT),
        ("FailJob", {"job_id": "x"}, Code.INTERNAL),
        ("CompleteUserTask", {"instance_id": "x"}, Code.INVALID_ARGUMENT),
        ("CompleteUserTask", {"instance_id": "x", "user_task_step_id": "a"}, Code.NOT_FOUND),
        ("SignalWait", {"wait_step_id": "a"}, Code.INVALID_ARGUMENT),
        ("SignalWait", {"instance_id": "x", "wait_step_id": "a"}, Code.NOT_FOUND),
    ],
)
async def test_refusals(call: Caller, method: str, fields: dict[str, Any], code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(method, **fields)
    assert refused.value.code() is code


async def test_calls_in_the_wrong_state(call: Caller) -> None:
    instance_id = (await call("StartInstance", definition_id="order")).instance.id
    await call("CancelInstance", id=instance_id)
    for method, fields in (
        ("CancelInstance", {"id": instance_id}),
        ("SignalWait", {"instance_id": instance_id, "wait_step_id": "a"}),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(method, **fields)
        assert refused.value.code() is Code.FAILED_PRECONDITION
