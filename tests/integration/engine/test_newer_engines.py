"""Requests and answers of newer engines (engine.md: generations B to D), and nonsense in their place."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from integration.engine.peers import GrpcPeer, RestPeer, over_grpc, over_rest
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import (
    AnswerLost,
    Conflict,
    EngineError,
    InternalError,
    NotFound,
    NotSupported,
    Rejected,
    SchemaViolation,
    TurnedAway,
    Unreadable,
)

Rest = tuple[RestPeer, RestClient]
Grpc = tuple[GrpcPeer, GrpcClient]
Code = grpc.StatusCode
END = datetime(2026, 1, 1, 0, 1, 0, 500_000, UTC)
TIME = "2026-01-01T00:01:00.5Z"
INSTANCE = {"id": "i", "definitionId": "d", "definitionVersion": 1, "status": "ACTIVE"}
JOB = {"id": "j", "instanceId": "i", "jobType": "t", "stepExecutionId": "s"}


@pytest.fixture
async def rest() -> AsyncIterator[Rest]:
    async with over_rest() as found:
        yield found


@pytest.fixture
async def rpc() -> AsyncIterator[Grpc]:
    async with over_grpc() as found:
        yield found


def to_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def engines(code: str, reason: str) -> bytes:
    return to_json({"error": code, "reason": reason})


async def test_a_lease_is_renewed_over_rest(rest: Rest) -> None:
    peer, client = rest
    peer.answer(200, to_json({"accepted": True, "lockExpiresAt": TIME}))
    assert await client.extend_lease("j/1", "w", 60.9) == END
    assert peer.asked == [("/v1/jobs/j%2F1/heartbeat", {"workerId": "w", "leaseSeconds": 60})]


async def test_a_lease_is_renewed_over_grpc(rpc: Grpc) -> None:
    peer, client = rpc
    peer.answer = pb.ExtendJobLeaseResponse(accepted=True, lock_expires_at=END)
    assert await client.extend_lease("j/1", "w", 60.9) == END
    assert peer.asked == [pb.ExtendJobLeaseRequest(job_id="j/1", worker_id="w", lease_seconds=60)]


NO_RENEWAL: list[tuple[int, bytes, type[EngineError]]] = [
    (409, engines("conflict", "lease lost"), Conflict),
    (404, engines("not-found", "not found"), NotSupported),
    (404, b"404 page not found\n", NotSupported),
    (405, b"Method Not Allowed\n", NotSupported),
    (501, b"", NotSupported),
    (400, engines("bad-request", "leaseSeconds must be 5 to 3600"), Rejected),
    (401, b"", TurnedAway),
    (500, engines("internal-error", "the database is away"), InternalError),
    (500, b"", InternalError),
    (503, b"", InternalError),
    (502, b"", AnswerLost),
    (200, b"", Unreadable),
    (200, b"<html>Please log in</html>", Unreadable),
    (200, b"null", Unreadable),
    (200, b"{}", Unreadable),
    (200, to_json({"accepted": True}), Unreadable),
    (200, to_json({"lockExpiresAt": TIME}), Unreadable),
    (200, to_json({"accepted": True, "lockExpiresAt": None}), Unreadable),
    (200, to_json({"accepted": True, "lockExpiresAt": "soon"}), Unreadable),
    (200, to_json({"accepted": True, "lockExpiresAt": 1767225660}), Unreadable),
    (200, to_json({"accepted": True, "lockExpiresAt": TIME.removesuffix("Z")}), Unreadable),
    (200, to_json({"accepted": "yes", "lockExpiresAt": TIME}), Unreadable),
    (200, to_json({"accepted": False, "lockExpiresAt": TIME}), Unreadable),
]


@pytest.mark.parametrize(("status", "body", "kind"), NO_RENEWAL)
async def test_no_renewal_over_rest(rest: Rest, status: int, body: bytes, kind: type[EngineError]) -> None:
    peer, client = rest
    peer.answer(status, body)
    with pytest.raises(EngineError) as caught:
        await client.extend_lease("j", "w", 60)
    assert type(caught.value) is kind
    assert re.match(r"POST /v1/jobs/j/heartbeat( at http://127\.0\.0\.1:\d+)?: ", str(caught.value))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((Code.FAILED_PRECONDITION, "lease lost"), Conflict),
        (None, NotSupported),
        ((Code.UNIMPLEMENTED, "unknown method ExtendJobLease"), NotSupported),
        ((Code.INVALID_ARGUMENT, "lease_seconds must be 5 to 3600"), Rejected),
        ((Code.INTERNAL, "the database is away"), InternalError),
        (pb.ExtendJobLeaseResponse(), Unreadable),
        (pb.ExtendJobLeaseResponse(accepted=True), Unreadable),
        (pb.ExtendJobLeaseResponse(lock_expires_at=END), Unreadable),
        (pb.ExtendJobLeaseResponse(accepted=True, lock_expires_at={"seconds": 2**62}), Unreadable),
        (pb.UploadDefinitionResponse(id="something else"), Unreadable),
    ],
)
async def test_no_renewal_over_grpc(
    rpc: Grpc, answer: Message | tuple[Code, str] | None, kind: type[EngineError]
) -> None:
    peer, client = rpc
    peer.answer = answer
    with pytest.raises(EngineError) as caught:
        await client.extend_lease("j", "w", 60)
    assert type(caught.value) is kind


async def test_a_step_is_retried_over_rest(rest: Rest) -> None:
    peer, client = rest
    peer.answer(200, to_json(INSTANCE))
    assert (await client.retry_step("i", "s 1", {"a": 1})).id == "i"
    await client.retry_step("i", "s")
    assert peer.asked == [
        ("/v1/instances/i/steps/s%201/retry", {"variables": {"a": 1}}),
        ("/v1/instances/i/steps/s/retry", {"variables": {}}),
    ]


async def test_a_step_is_retried_over_grpc(rpc: Grpc) -> None:
    peer, client = rpc
    peer.answer = pb.RetryStepResponse(instance={"id": "i", "status": "INSTANCE_STATUS_ACTIVE"})
    assert (await client.retry_step("i", "s", {"a": 1})).id == "i"
    assert peer.asked == [pb.RetryStepRequest(instance_id="i", step_id="s", variables={"a": 1})]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, engines("not-found", "instance not found"), NotFound),
        (404, b"404 page not found\n", NotSupported),
        (405, b"", NotSupported),
        (501, b"", NotSupported),
        (409, engines("conflict", "instance is not FAILED"), Conflict),
        (500, engines("internal-error", "unknown step"), InternalError),
    ],
)
async def test_no_retry_over_rest(rest: Rest, status: int, body: bytes, kind: type[EngineError]) -> None:
    peer, client = rest
    peer.answer(status, body)
    with pytest.raises(EngineError) as caught:
        await client.retry_step("i", "s")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((Code.NOT_FOUND, "instance not found"), NotFound),
        (None, NotSupported),
        ((Code.FAILED_PRECONDITION, "instance is not FAILED"), Conflict),
        ((Code.ALREADY_EXISTS, "business key already in use"), Conflict),
        (pb.RetryStepResponse(), Unreadable),
    ],
)
async def test_no_retry_over_grpc(
    rpc: Grpc, answer: Message | tuple[Code, str] | None, kind: type[EngineError]
) -> None:
    peer, client = rpc
    peer.answer = answer
    with pytest.raises(EngineError) as caught:
        await client.retry_step("i", "s")
    assert type(caught.value) is kind


async def test_a_poll_requests_a_lease_only_if_one_is_given(rest: Rest, rpc: Grpc) -> None:
    over_http, http = rest
    over_http.answer(200, b'{"jobs":null}')
    other, client = rpc
    other.answer = pb.PollJobsResponse()
    for lease in (None, 60.9):
        assert await http.poll_jobs("w", ["t"], 3, lease) == await client.poll_jobs("w", ["t"], 3, lease) == []
    asked = {"workerId": "w", "jobTypes": ["t"], "maxJobs": 3}
    assert over_http.asked == [("/v1/jobs/poll", asked), ("/v1/jobs/poll", asked | {"leaseSeconds": 60})]
    assert other.asked == [
        pb.PollJobsRequest(worker_id="w", job_types=["t"], max_jobs=3),
        pb.PollJobsRequest(worker_id="w", job_types=["t"], max_jobs=3, lease_seconds=60),
    ]


async def test_a_claim_carries_its_lease_over_rest(rest: Rest) -> None:
    peer, client = rest
    good = JOB | {"lockedAt": "2026-01-01T00:00:30.5Z", "lockExpiresAt": TIME}
    peer.answer(200, to_json({"jobs": [good, good | {"lockedAt": "soon"}, good | {"lockExpiresAt": 5}]}))
    whole, without_begin, without_end = await client.poll_jobs("w", ["t"], 3)
    began = datetime(2026, 1, 1, 0, 0, 30, 500_000, UTC)
    assert (whole.locked_at, whole.lock_expires_at) == (began, END)
    assert (without_begin.locked_at, without_begin.lock_expires_at) == (None, END)
    assert (without_end.locked_at, without_end.lock_expires_at) == (began, None)


async def test_a_claim_carries_its_lease_and_perhaps_its_variables_over_grpc(rpc: Grpc) -> None:
    peer, client = rpc
    peer.answer = pb.PollJobsResponse(
        jobs=[
            pb.Job(id="a", instance_id="i", lock_expires_at=END),
            pb.Job(id="b", instance_id="i", variables={"n": 1}, lock_expires_at={"seconds": 2**62}),
            pb.Job(id="c", instance_id="i", variables={}),
        ]
    )
    jobs = await client.poll_jobs("w", ["t"], 3)
    assert [(job.id, job.variables, job.lock_expires_at) for job in jobs] == [
        ("a", None, END),
        ("b", {"n": 1}, None),
        ("c", {}, None),
    ]


async def test_the_schema_refuses_values(rest: Rest, rpc: Grpc) -> None:
    reason = "schema violation: at '/total': got string, want number"
    over_http, http = rest
    over_http.answer(500, engines("internal-error", reason))
    other, client = rpc
    other.answer = (Code.INVALID_ARGUMENT, reason)
    for engine in (http, client):
        with pytest.raises(SchemaViolation, match="got string, want number"):
            await engine.complete_job("j", "w", {"total": "7"})
        with pytest.raises(SchemaViolation):
            await engine.start_instance("d", {"total": "7"})


async def test_a_business_key_is_taken(rest: Rest, rpc: Grpc) -> None:
    over_http, http = rest
    over_http.answer(409, engines("conflict", "business key already in use"))
    other, client = rpc
    other.answer = (Code.ALREADY_EXISTS, "business key already in use")
    for engine in (http, client):
        with pytest.raises(Conflict, match="business key already in use"):
            await engine.start_instance("d", business_key="k")


async def test_a_job_is_unknown(rest: Rest, rpc: Grpc) -> None:
    reason = "lock job instance: no rows in result set"
    over_http, http = rest
    over_http.answer(500, engines("internal-error", reason))
    other, client = rpc
    other.answer = (Code.INTERNAL, reason)
    for engine in (http, client):
        with pytest.raises(NotFound, match="no rows"):
            await engine.fail_job("j", "w", "boom", retryable=True)


async def test_unknown_statuses_are_listed(rest: Rest, rpc: Grpc) -> None:
    over_http, http = rest
    over_http.answer(200, to_json({"items": [INSTANCE | {"status": "PAUSED"}, INSTANCE], "total": 2}))
    assert [found.status for found in (await http.list_instances()).items] == ["PAUSED", "ACTIVE"]
    other, client = rpc
    paused: Any = {"id": "i", "status": 42}
    other.answer = pb.ListInstancesResponse(instances=[paused, {"id": "i", "status": "INSTANCE_STATUS_ACTIVE"}])
    assert [found.status for found in (await client.list_instances()).items] == ["42", "ACTIVE"]


async def test_a_definition_without_steps_is_returned(rpc: Grpc) -> None:
    peer, client = rpc
    peer.answer = pb.GetDefinitionResponse(definition={"id": "d", "version": 3, "input_schema": {"minimum": 1}})
    assert await client.get_definition("d") == {"id": "d", "version": 3, "input_schema": {"minimum": 1}}


async def test_a_number_beyond_all_doubles_is_rejected_over_grpc(rpc: Grpc) -> None:
    _, client = rpc
    with pytest.raises(Rejected):
        await client.upload_definition({"id": "d", "metadata": {"n": 10**400}})
