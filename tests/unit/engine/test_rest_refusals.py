"""What an answer other than 2xx means, from the engine or from a gateway."""

import json

import pytest

from rochallor_worker.engine.rest.refusals import refusal
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
)


def engines(code: str, reason: str, field: str = "reason") -> bytes:
    return json.dumps({"error": code, field: reason}).encode()


TABLE = [
    (400, engines("bad-request", "no workerId"), Rejected),
    (404, engines("not-found", "instance not found"), NotFound),
    (404, engines("not-found", "instance not found", "message"), NotFound),
    (409, engines("conflict", "not parked"), Conflict),
    (409, engines("conflict", "business key already in use"), Conflict),
    (410, b'{"error":"poll path disabled","dispatch_mode":"kafka_outbox","hint":"x"}', DispatchMismatch),
    (422, engines("unprocessable", "no"), Rejected),
    (500, engines("internal-error", 'job "x" not found'), NotFound),
    (500, engines("internal-error", "lock job instance: no rows in result set"), NotFound),
    (500, engines("internal-error", "the database is away"), InternalError),
    (500, engines("internal-error", "schema violation: at '/total': not found"), SchemaViolation),
    (500, engines("internal-error", "schema violation: no", "message"), SchemaViolation),
    (400, engines("bad-request", "schema violation: at '/total': got string, want number"), SchemaViolation),
    (422, engines("unprocessable", "schema violation: no"), SchemaViolation),
    (500, engines("internal-error", "log of a schema violation: lost"), InternalError),
    # the rest comes from a gateway: none of it is the engine's answer about a job
    (302, b"<a href=/login>", TurnedAway),
    (400, b"400 Bad Request", TurnedAway),
    (401, b"", TurnedAway),
    (403, engines("forbidden", "no"), TurnedAway),
    (404, b"404 page not found\n", TurnedAway),
    (404, b"default backend - 404", TurnedAway),
    (404, b'{"message":"no Route matched with those values"}', TurnedAway),
    (405, b"", TurnedAway),
    (500, b"schema violation: no", InternalError),
    (500, b"no rows in result set", InternalError),
    (400, b"schema violation: no", TurnedAway),
    (409, b"conflict", TurnedAway),
    (501, b"", InternalError),
    (421, b"Misdirected Request", TurnedAway),
    (429, b"slow down", TurnedAway),
    (413, b"<h1>413 Request Entity Too Large</h1>", Rejected),
    (408, b"", AnswerLost),
    (502, b"<h1>502 Bad Gateway</h1>", AnswerLost),
    (504, b"upstream request timeout", AnswerLost),
    (500, b"Internal Server Error: route not found", InternalError),
    (503, b'service "engine" not found: no healthy upstream', InternalError),
    (503, engines("unavailable", "upstream not found"), InternalError),
]


@pytest.mark.parametrize(("status", "answer", "kind"), TABLE)
def test_the_table(status: int, answer: bytes, kind: type[EngineError]) -> None:
    error = refusal("POST /v1/jobs/x/complete", "http://engine", status, answer, lambda text: text)
    assert type(error) is kind
    engines_own = f"POST /v1/jobs/x/complete: {status}"
    assert str(error).startswith((engines_own, f"POST /v1/jobs/x/complete at http://engine: answered {status}"))
    assert str(error).count(str(status)) <= 2


LACKING = [
    (404, engines("not-found", "no such thing"), None),
    (404, b"404 page not found\n", NotSupported),
    (404, b'{"message":"no Route matched with those values"}', NotSupported),
    (405, b"Method Not Allowed\n", NotSupported),
    (405, engines("method-not-allowed", "no"), NotSupported),
    (501, b"", NotSupported),
    (501, engines("not-implemented", "heartbeat"), NotSupported),
    (409, engines("conflict", "lease lost"), Conflict),
    (400, engines("bad-request", "leaseSeconds"), Rejected),
    (401, b"", TurnedAway),
    (500, engines("internal-error", "the database is away"), InternalError),
    (502, b"", AnswerLost),
]


@pytest.mark.parametrize("unknown", [NotFound, NotSupported])
@pytest.mark.parametrize(("status", "answer", "kind"), LACKING)
def test_a_call_that_older_engines_lack(
    status: int, answer: bytes, kind: type[EngineError] | None, unknown: type[EngineError]
) -> None:
    error = refusal("POST /v1/jobs/x/heartbeat", "http://engine", status, answer, lambda text: text, unknown)
    assert type(error) is (kind or unknown)


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_server_that_refuses_a_token_is_not_quoted(status: int) -> None:
    """It may repeat the token in an encoding that nobody foresees."""
    text = str(refusal("GET /", "http://engine", status, b"no access with hunter%32", lambda text: text))
    assert text == f"GET / at http://engine: answered {status}"


def test_a_page_of_html_becomes_one_short_line_without_secrets() -> None:
    page = b"<html>\n\n hunter2 <body>" + b"x" * 10_000
    text = str(refusal("GET /", "http://engine", 503, page, lambda text: text.replace("hunter2", "[redacted]")))
    assert text.startswith(
        "GET / at http://engine: answered 503, which is not the engine's answer: <html> [redacted] <body>xxx"
    )
    assert len(text) < 600
