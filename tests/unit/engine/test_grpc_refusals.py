"""What each gRPC status means."""

import grpc
import pytest

from rochallor_worker.engine.grpc.refusals import refusal
from rochallor_worker.errors import (
    AnswerLost,
    Conflict,
    DispatchMismatch,
    EngineError,
    InternalError,
    NotFound,
    NotSupported,
    Rejected,
    SchemaViolation,
    TurnedAway,
    Unreachable,
)

Code = grpc.StatusCode
TABLE: list[tuple[grpc.StatusCode, str, type[EngineError]]] = [
    (Code.UNAVAILABLE, "failed to connect to all addresses; last error: UNKNOWN: Connection refused", Unreachable),
    (Code.UNAVAILABLE, "errors resolving engine:9090: Domain name not found", Unreachable),
    (Code.UNAVAILABLE, "Socket closed", AnswerLost),
    (Code.UNAVAILABLE, "recvmsg:Connection reset by peer", AnswerLost),
    (Code.UNAVAILABLE, "upstream connect error or disconnect/reset before headers", AnswerLost),
    (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", AnswerLost),
    (Code.CANCELLED, "Received RST_STREAM with error code 8", AnswerLost),
    (Code.INTERNAL, 'complete job: job "x" not found', NotFound),
    (Code.INTERNAL, "lock job instance: no rows in result set", NotFound),
    (Code.INTERNAL, "schema violation: at '/total': not found", SchemaViolation),
    (Code.INVALID_ARGUMENT, "schema violation: at '/total': got string, want number", SchemaViolation),
    (Code.INVALID_ARGUMENT, "no schema violation: no", Rejected),
    (Code.UNKNOWN, "no rows in result set", InternalError),
    (Code.INTERNAL, "Received RST_STREAM with error code 2", InternalError),
    (Code.UNKNOWN, "", InternalError),
    (Code.ABORTED, "", InternalError),
    (Code.DATA_LOSS, "", InternalError),
    (Code.NOT_FOUND, "", NotFound),
    (Code.INVALID_ARGUMENT, "", Rejected),
    (Code.OUT_OF_RANGE, "", Rejected),
    (Code.FAILED_PRECONDITION, "", Conflict),
    (Code.ALREADY_EXISTS, "business key already in use", Conflict),
    (Code.UNAUTHENTICATED, "", TurnedAway),
    (Code.PERMISSION_DENIED, "", TurnedAway),
    (Code.UNIMPLEMENTED, "Received http2 header with status: 404", TurnedAway),
    (Code.RESOURCE_EXHAUSTED, "quota", TurnedAway),
    (Code.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (5 vs. 4)", Rejected),
    (Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max (5 vs. 4)", Rejected),
    (Code.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max (5 vs. 4)", AnswerLost),
]


@pytest.mark.parametrize(("code", "details", "kind"), TABLE)
def test_the_table(code: grpc.StatusCode, details: str, kind: type[EngineError]) -> None:
    error = refusal("CompleteJob", "engine:9090", code, details)
    assert type(error) is kind
    assert str(error).startswith("CompleteJob: ")
    assert details in str(error)


@pytest.mark.parametrize("code", [Code.UNAUTHENTICATED, Code.PERMISSION_DENIED])
def test_a_server_that_refuses_a_token_is_not_quoted(code: grpc.StatusCode) -> None:
    assert str(refusal("CompleteJob", "engine:9090", code, "no access with hunter%32")) == f"CompleteJob: {code.name}"


def test_a_failed_precondition_of_a_poll_is_a_mismatch() -> None:
    assert type(refusal("PollJobs", "engine:9090", Code.FAILED_PRECONDITION, "poll path disabled")) is DispatchMismatch


@pytest.mark.parametrize("call", ["ExtendJobLease", "RetryStep"])
@pytest.mark.parametrize("details", ["unknown method", "Received http2 header with status: 404"])
def test_a_call_that_older_engines_lack(call: str, details: str) -> None:
    assert type(refusal(call, "engine:9090", Code.UNIMPLEMENTED, details)) is NotSupported


def test_a_lost_lease_is_a_conflict() -> None:
    assert type(refusal("ExtendJobLease", "engine:9090", Code.FAILED_PRECONDITION, "lease lost")) is Conflict


def test_a_page_of_html_becomes_one_short_line() -> None:
    text = str(refusal("PollJobs", "engine:9090", Code.UNKNOWN, "<html>\n\n <body>" + "x" * 10_000))
    assert "\n" not in text
    assert len(text) < 600
