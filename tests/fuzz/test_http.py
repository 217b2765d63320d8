"""Any request to the worker's own HTTP server: it answers or closes the connection, and keeps serving."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.budget import examples
from fuzz.calls import damaged
from rochallor_worker import Registry, Runner
from rochallor_worker.observability.activity import Activity
from rochallor_worker.observability.http import serve
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.observability.status import status
from unit.worker.engines import FaultyEngine, loop_time

METHODS = ["GET", "GET", "HEAD", "POST", "OPTIONS", "TRACE", "get", "G\tT"]
PATHS = [
    "/",
    "/livez",
    "/readyz",
    "/metrics",
    "/status.json",
    "//",
    "/..",
    "/%00",
    "/%ff",
    "/livez/../metrics",
    "/?a=%zz",
    "*",
    "x",
    "http://[",
    "",
]
HEADERS = [
    "Host: x",
    "Host: x\r\nHost: y",
    "Content-Length: 5",
    "Content-Length: -1",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Connection: upgrade\r\nUpgrade: websocket",
    "Accept-Encoding: gzip",
    "Range: bytes=0-0",
    "X: " + "x" * 10_000,
    "no colon",
    "ü: ü",
]
requests = st.builds(
    lambda method, path, version, headers, body: "\r\n".join(
        [f"{method} {path} HTTP/{version}", *headers, "", body]
    ).encode("utf-8", "surrogatepass"),
    st.sampled_from(METHODS) | st.text(max_size=3),
    st.sampled_from(PATHS) | st.text(max_size=8),
    st.sampled_from(["1.1", "1.0", "0.9", "2.0", "9.9", "x"]),
    st.lists(st.sampled_from(HEADERS) | st.text(max_size=8), max_size=3),
    st.text(max_size=8),
)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    registry = Registry()
    registry.handler("a")(lambda _: None)
    runner = Runner(FaultyEngine(), registry, worker_id="w", clock=loop_time)
    sampler = Sampler(runner.slots, runner.gates, loop_time)
    metrics = Metrics(runner, sampler, transport="rest", worker_id="w")
    activity = Activity(runner.job_types, loop_time)
    shown = partial(status, runner, activity, sampler, transport="rest", worker_id="w", clock=loop_time)
    async with serve(runner, metrics, shown, 0) as port:
        yield port


async def answer(port: int, request: bytes, *, end: bool = False) -> bytes:
    """Send bytes, then EOF if `end`; return everything that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        if end:
            writer.write_eof()
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@examples(2)
@given(request=requests | requests.flatmap(damaged) | st.binary(max_size=30))
@example(request=b"GET / HTTP/1.1\r\n" * 10_000)
@example(request=b"\x16\x03\x01\x02\x00\x01")
async def test_after_any_bytes_it_keeps_serving(port: int, request: bytes) -> None:
    await answer(port, request, end=True)
    assert (await answer(port, b"GET /livez HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nok\n")


@examples()
@given(method=st.sampled_from(METHODS) | st.text(max_size=3), path=st.sampled_from(PATHS) | st.text(max_size=8))
async def test_any_path_has_an_answer(port: int, method: str, path: str) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    found = await answer(port, head.encode("utf-8", "surrogatepass"))
    status = int(found.split(b" ", 2)[1])
    assert status < 500 or (status == 503 and path.startswith("/readyz"))
