"""What each gRPC status means."""

import grpc
import pytest

from rochallor_worker.engine.grpc_refusals import refusal
from rochallor_worker.errors import (
    AnswerLost,
    Conflict,
    DispatchMismatch,
    EngineError,
    InternalError,
    NotFound,
    Rejected,
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
    (Code.INTERNAL, "Received RST_STREAM with error code 2", InternalError),
    (Code.UNKNOWN, "", InternalError),
    (Code.ABORTED, "", InternalError),
    (Code.DATA_LOSS, "", InternalError),
    (Code.NOT_FOUND, "", NotFound),
    (Code.INVALID_ARGUMENT, "", Rejected),
    (Code.OUT_OF_RANGE, "", Rejected),
    (Code.FAILED_PRECONDITION, "", Conflict),
    (Code.ALREADY_EXISTS, "", Conflict),
    (Code.UNAUTHENTICATED, "", Unreachable),
    (Code.PERMISSION_DENIED, "", Unreachable),
    (Code.UNIMPLEMENTED, "Received http2 header with status: 404", Unreachable),
    (Code.RESOURCE_EXHAUSTED, "quota", Unreachable),
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


def test_a_poll_in_the_wrong_state_is_a_mismatch() -> None:
    assert type(refusal("PollJobs", "engine:9090", Code.FAILED_PRECONDITION, "poll path disabled")) is DispatchMismatch


def test_a_page_of_html_becomes_one_short_line() -> None:
    text = str(refusal("PollJobs", "engine:9090", Code.UNKNOWN, "<html>\n\n <body>" + "x" * 10_000))
    assert "\n" not in text
    assert len(text) < 600
