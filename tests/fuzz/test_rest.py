"""Answers over REST that no engine gives: the caller always gets a result or an `EngineError`."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.budget import examples
from fuzz.calls import ANSWERS, CALLS, JOB, damaged, names, outcome, to_bytes, wrong
from rochallor_worker.engine.client import MAX_ANSWER_BYTES
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import AnswerLost


class Peer:
    """Answers every request with `answer`; then closes, or sends `drops` until the other side closes."""

    def __init__(self) -> None:
        self.answer = b""
        self.drops = b""
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().splitlines() if line.startswith(b"content-length:")]
            await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
            writer.write(self.answer)
            await writer.drain()
            while self.drops:
                writer.write(self.drops)
                await writer.drain()
                await asyncio.sleep(0.01)  # far more often than the client's timeout for one read
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.closed.set()


@pytest.fixture
async def rest() -> AsyncIterator[tuple[Peer, RestClient]]:
    peer = Peer()
    async with await asyncio.start_server(peer.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with RestClient(f"http://127.0.0.1:{port}", timeout=30) as client:
            yield peer, client


HEADERS = [
    b"content-type: application/json",
    b"content-type: text/html; charset=rot13",
    b"content-encoding: gzip",
    b"content-encoding: deflate",
    b"transfer-encoding: chunked",
    b"content-length: 1000",
    b"content-length: -1",
    b"location: http://elsewhere/login",
    b"content-type: \xff",
    b"",
    b"no colon",
]
STATUSES = [200, 200, 201, 204, 206, 302, 304, 400, 401, 404, 408, 409, 410, 418, 429, 500, 502, 599, 999]


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, bytes]:
    """A call and the bytes that come back: almost an engine's answer, or anything."""
    name = draw(names)
    right = ANSWERS.get(name, {"error": "bad-request", "reason": "no"})
    body = to_bytes(right if draw(st.booleans()) else draw(wrong(right)))
    head = b"HTTP/1.1 %d Whatever\r\n" % draw(st.sampled_from(STATUSES))
    head += b"".join(header + b"\r\n" for header in draw(st.lists(st.sampled_from(HEADERS), max_size=2)))
    kind = draw(st.sampled_from(["whole", "body", "body", "all", "noise"]))
    if kind == "noise":
        return name, draw(st.binary(max_size=60))
    if kind == "body":
        return name, head + b"\r\n" + draw(damaged(body))
    return name, draw(damaged(head + b"\r\n" + body)) if kind == "all" else head + b"\r\n" + body


OK = b"HTTP/1.1 200 OK\r\n\r\n"
HTML = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>\n<h1>Please log in</h1>"
DEEP = OK + b"[" * 100_000


@examples(4)
@given(case=answers())
@example(case=("PollJobs", DEEP))
@example(case=("PollJobs", DEEP.replace(b"200", b"400")))
@example(case=("GetInstance", HTML.replace(b"200 OK", b"502 Bad Gateway")))
@example(case=("GetInstance", OK + to_bytes(ANSWERS["GetInstance"]).replace("ü".encode(), b"\xff")))
@example(case=("CompleteJob", b'HTTP/1.1 400 Bad Request\r\n\r\n{"reason": "\xff"}'))
@example(case=("GetDefinition", OK + b'{"version":' + b"9" * 5000 + b"}"))
async def test_any_answer(rest: tuple[Peer, RestClient], case: tuple[str, bytes]) -> None:
    peer, client = rest
    name, peer.answer = case
    await outcome(client, name)


@pytest.mark.parametrize("name", CALLS)
async def test_a_login_page_is_no_answer(rest: tuple[Peer, RestClient], name: str) -> None:
    peer, client = rest
    peer.answer = HTML
    assert isinstance(await outcome(client, name), AnswerLost)


def refuse(name: str) -> None:
    raise ValueError(f"{name} is only JSON in Python")


@examples(2)
@given(bad=wrong(JOB).map(to_bytes) | damaged(to_bytes(JOB)))
@example(bad=to_bytes(JOB | {"id": ""}))
@example(bad=to_bytes(JOB).replace("ü".encode(), b"\xff"))
@example(bad=b"null")
async def test_a_job_that_cannot_be_read_does_not_cost_the_others(rest: tuple[Peer, RestClient], bad: bytes) -> None:
    peer, client = rest
    try:
        json.loads(bad.decode(errors="replace"), parse_constant=refuse)
    except (ValueError, RecursionError):  # it ends the list, or the whole answer
        bad = b"7"
    good = to_bytes(JOB | {"id": "good"})
    peer.answer = OK + b'{"jobs":[' + b",".join([good, bad, good]) + b"]}"
    jobs = await client.poll_jobs("w", ["t"], 3)
    assert [job.id for job in jobs].count("good") >= 2


async def test_jobs_of_which_none_can_be_read_are_no_answer(rest: tuple[Peer, RestClient]) -> None:
    peer, client = rest
    peer.answer = OK + b'{"jobs":[{"id":"j"},7]}'
    with pytest.raises(AnswerLost, match="no job in the answer to the poll can be read"):
        await client.poll_jobs("w", ["t"], 3)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["headers", "body"])
async def test_an_answer_that_never_ends_times_out(rest: tuple[Peer, RestClient], head: bytes) -> None:
    peer, client = rest
    peer.answer, peer.drops = head, b"x"
    async with RestClient(client._url, timeout=2) as impatient:  # less may not be enough to connect
        with pytest.raises(AnswerLost, match="no answer in time"):
            await impatient.poll_jobs("w", ["t"], 1)
    await peer.closed.wait()


async def test_an_answer_does_not_fill_the_memory(rest: tuple[Peer, RestClient]) -> None:
    peer, client = rest
    peer.answer = OK + b" " * (MAX_ANSWER_BYTES - 2) + b"{}"
    assert await client.get_definition("d") == {}
    peer.answer, peer.drops = OK, b" " * 2**20
    with pytest.raises(AnswerLost, match="the answer is larger than 33,554,432 bytes"):
        await client.get_definition("d")
    await peer.closed.wait()
