"""What the gRPC interface does differently from REST (engine.md: "What differs from REST"), without our clients."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct

from rochallor_worker.devengine import DevEngine
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb

from .conftest import Clock

if TYPE_CHECKING:
    from rochallor_worker.devengine.records import Generation

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
async def engine() -> AsyncIterator[DevEngine]:
    async with DevEngine(grpc_port=0, clock=Clock()) as running:  # time does not pass: leases are exact
        yield running


@pytest.fixture
async def call(engine: DevEngine) -> AsyncIterator[Caller]:
    """Send a request, given by its fields, to an engine that knows ORDER."""
    async with grpc.aio.insecure_channel(engine.grpc_target) as channel:

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


async def test_a_polled_job_has_no_step_and_on_unfenced_engines_no_variables(engine: DevEngine, call: Caller) -> None:
    cases: list[tuple[Generation, dict[str, int]]] = [
        ("A", {}),
        ("A", {"sku": 7}),
        ("fenced", {}),
        ("fenced", {"sku": 7}),
    ]
    for generation, variables in cases:
        engine.state.generation = generation
        started = (await call("StartInstance", definition_id="order", variables=variables)).instance
        answer = await call("PollJobs", worker_id="w", job_types=["pick"], max_jobs=1, lease_seconds=600)
        [job] = answer.jobs
        assert job.HasField("variables") is (generation == "fenced")
        assert dict(job.variables) == (variables if generation == "fenced" else {})
        assert job.step_id == ""
        lasts = job.lock_expires_at.seconds - started.started_at.seconds
        assert lasts == (30 if generation == "A" else 600)  # A ignores the requested length
    assert (await call("PollJobs", worker_id="w", job_types=["pick"])).jobs == []


async def test_a_fenced_engine_answers_definitions_without_steps(engine: DevEngine, call: Caller) -> None:
    schema = Struct()
    schema.update({"required": ["sku"]})
    described = pb.WorkflowDefinition(id="d", name="D", description="x", steps=ORDER.steps, input_schema=schema)
    described.steps[0].outputs_schema.update({"required": ["ok"]})
    await call("UploadDefinition", definition=described)
    found = (await call("GetDefinition", id="d")).definition
    assert found == pb.WorkflowDefinition(id="d", version=1, name="D", description="x", input_schema=schema)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call("StartInstance", definition_id="d")
    assert refused.value.code() is Code.INVALID_ARGUMENT
    await call("StartInstance", definition_id="d", variables={"sku": 1})
    [job] = (await call("PollJobs", worker_id="w", job_types=["pick"])).jobs
    with pytest.raises(grpc.aio.AioRpcError) as violated:
        await call("CompleteJob", job_id=job.id, worker_id="w")
    assert violated.value.code() is Code.INVALID_ARGUMENT
    assert (violated.value.details() or "").startswith("schema violation: ")
    engine.state.generation = "A"
    assert [step.id for step in (await call("GetDefinition", id="order")).definition.steps] == ["a", "e"]


async def test_a_lease_is_renewed_unless_the_engine_cannot(engine: DevEngine, call: Caller) -> None:
    await call("StartInstance", definition_id="order")
    [job] = (await call("PollJobs", worker_id="w", job_types=["pick"])).jobs
    answer = await call("ExtendJobLease", job_id=job.id, worker_id="w", lease_seconds=600)
    assert answer.accepted
    assert answer.lock_expires_at.seconds - job.lock_expires_at.seconds == 570
    with pytest.raises(grpc.aio.AioRpcError) as lost:
        await call("ExtendJobLease", job_id=job.id, worker_id="other")
    assert lost.value.code() is Code.FAILED_PRECONDITION
    engine.state.heartbeat = False
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await call("ExtendJobLease", job_id=job.id, worker_id="w")
    assert unknown.value.code() is Code.UNIMPLEMENTED


async def test_a_failed_step_is_retried(engine: DevEngine, call: Caller) -> None:
    started = (await call("StartInstance", definition_id="order", business_key="k")).instance
    with pytest.raises(grpc.aio.AioRpcError) as taken:
        await call("StartInstance", definition_id="order", business_key="k")
    assert taken.value.code() is Code.ALREADY_EXISTS
    [job] = (await call("PollJobs", worker_id="w", job_types=["pick"])).jobs
    await call("FailJob", job_id=job.id, worker_id="w")
    retried = (await call("RetryStep", instance_id=started.id, step_id="a", variables={"n": 1})).instance
    assert (retried.status, dict(retried.variables)) == (pb.INSTANCE_STATUS_ACTIVE, {"n": 1})
    engine.state.generation = "A"
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await call("RetryStep", instance_id=started.id, step_id="a")
    assert unknown.value.code() is Code.UNIMPLEMENTED


async def test_the_default_size_of_a_page(call: Caller) -> None:
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
        ("CancelInstance", {"id": "x"}, Code.INTERNAL),
        ("RetryStep", {"instance_id": "x"}, Code.INVALID_ARGUMENT),
        ("RetryStep", {"instance_id": "x", "step_id": "a"}, Code.NOT_FOUND),
        ("ListInstances", {"status": 99}, Code.INVALID_ARGUMENT),
        ("ListInstances", {"page": -1}, Code.INTERNAL),
        ("ListDefinitions", {"page": -1}, Code.INTERNAL),
        ("UploadDefinition", {}, Code.INVALID_ARGUMENT),
        ("UploadDefinition", {"definition": {"id": "x", "steps": [{"type": 99}]}}, Code.INVALID_ARGUMENT),
        ("PollJobs", {"job_types": ["pick"]}, Code.INVALID_ARGUMENT),
        ("PollJobs", {"worker_id": "w"}, Code.INVALID_ARGUMENT),
        ("CompleteJob", {}, Code.INVALID_ARGUMENT),
        ("CompleteJob", {"job_id": "x"}, Code.INTERNAL),
        ("FailJob", {}, Code.INVALID_ARGUMENT),
        ("FailJob", {"job_id": "x"}, Code.INTERNAL),
        ("PollJobs", {"worker_id": "w", "job_types": ["pick"], "lease_seconds": 4}, Code.INVALID_ARGUMENT),
        ("ExtendJobLease", {}, Code.INVALID_ARGUMENT),
        ("ExtendJobLease", {"job_id": "x"}, Code.INVALID_ARGUMENT),
        ("ExtendJobLease", {"job_id": "x", "worker_id": "w"}, Code.INTERNAL),
        ("CompleteUserTask", {"instance_id": "x"}, Code.INVALID_ARGUMENT),
        ("CompleteUserTask", {"instance_id": "x", "user_task_step_id": "a"}, Code.NOT_FOUND),
        ("SignalWait", {"wait_step_id": "a"}, Code.INVALID_ARGUMENT),
        ("SignalWait", {"instance_id": "x", "wait_step_id": "a"}, Code.NOT_FOUND),
    ],
)
async def test_an_error_has_its_code(call: Caller, method: str, fields: dict[str, Any], code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(method, **fields)
    assert refused.value.code() is code


async def test_calls_in_the_wrong_state(call: Caller) -> None:
    instance_id = (await call("StartInstance", definition_id="order")).instance.id
    await call("CancelInstance", id=instance_id)
    for method, fields, code in (
        ("CancelInstance", {"id": instance_id}, Code.INTERNAL),
        ("SignalWait", {"instance_id": instance_id, "wait_step_id": "a"}, Code.FAILED_PRECONDITION),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(method, **fields)
        assert refused.value.code() is code
