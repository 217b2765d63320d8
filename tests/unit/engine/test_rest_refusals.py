"""What an answer other than 2xx means: the engine's own word, or a gateway's."""

import json

import pytest

from rochallor_worker.engine.rest_refusals import refusal
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


def engines(code: str, reason: str, field: str = "reason") -> bytes:
    return json.dumps({"error": code, field: reason}).encode()


TABLE = [
    (400, engines("bad-request", "no workerId"), Rejected),
    (404, engines("not-found", "instance not found"), NotFound),
    (404, engines("not-found", "instance not found", "message"), NotFound),
    (409, engines("conflict", "not parked"), Conflict),
    (410, b'{"error":"poll path disabled","dispatch_mode":"kafka_outbox","hint":"x"}', DispatchMismatch),
    (422, engines("unprocessable", "no"), Rejected),
    (500, engines("internal-error", 'job "x" not found'), NotFound),
    (500, engines("internal-error", "the database is away"), InternalError),
    # what follows, a gateway says: nothing of it is the engine's word on a job
    (302, b"<a href=/login>", Unreachable),
    (400, b"400 Bad Request", Unreachable),
    (401, b"", Unreachable),
    (403, engines("forbidden", "no"), Unreachable),
    (404, b"404 page not found\n", Unreachable),
    (404, b"default backend - 404", Unreachable),
    (404, b'{"message":"no Route matched with those values"}', Unreachable),
    (405, b"", Unreachable),
    (421, b"Misdirected Request", Unreachable),
    (429, b"slow down", Unreachable),
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
    error = refusal("POST /v1/jobs/x/complete", status, answer, lambda text: text)
    assert type(error) is kind
    assert str(error).startswith(f"POST /v1/jobs/x/complete: {status}")


def test_a_page_of_html_becomes_one_short_line_without_secrets() -> None:
    page = b"<html>\n\n hunter2 <body>" + b"x" * 10_000
    text = str(refusal("GET /", 503, page, lambda text: text.replace("hunter2", "[redacted]")))
    assert text.startswith("GET /: 503 <html> [redacted] <body>xxx")
    assert len(text) < 600
