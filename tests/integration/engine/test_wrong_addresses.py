"""One line for each address where something else answers: what was reached, and what it seems to be."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from integration.engine.proxy import listener
from rochallor_worker import RestClient
from rochallor_worker.devengine import DevEngine
from rochallor_worker.engine.client import MAX_ANSWER_BYTES
from rochallor_worker.engine.rest.transport import MAX_REFUSAL_BYTES
from rochallor_worker.errors import EngineError, Rejected

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """A server that answers every request with `answer`; yields its URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def refused(url: str) -> str:
    """Return the one-line error of a call to this address."""
    async with RestClient(url, timeout=60) as client:
        with pytest.raises(EngineError) as error:
            await client.get_instance("x")
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None
    return str(error.value)


async def test_a_tls_port_called_over_http() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await refused(f"http://127.0.0.1:{port}")
    assert error.startswith(f"GET /v1/instances/x at http://127.0.0.1:{port}: ")
    assert "TLS port" in error or "cut off" in error or "reset" in error


async def test_the_grpc_port_called_over_rest() -> None:
    async with DevEngine(grpc_port=0) as engine:
        error = await refused(f"http://{engine.grpc_target}")
    assert error == (
        f"GET /v1/instances/x at http://{engine.grpc_target}: "
        "the answer is not HTTP/1.1 (a gRPC port, called over REST?)"
    )


async def test_a_path_that_is_not_the_engines() -> None:
    async with DevEngine() as engine:
        error = await refused(f"{engine.url}/engine")
    assert error == (
        f"GET /v1/instances/x at {engine.url}/engine: answered 404, which is not the engine's answer: "
        "404 page not found"
    )


async def test_a_gateway_whose_broken_answer_repeats_the_token_is_not_quoted() -> None:
    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 401 hunter2-and-more\0\r\nX: hunter2-and-more\0\r\n\r\n")

    async with listener(answer) as address:
        assert "hunter2" not in await refused(f"http://{address}")


async def test_a_password_in_the_address_is_never_shown() -> None:
    error = await refused("http://user:hunter2@127.0.0.1:1")
    assert error.startswith("GET /v1/instances/x: cannot connect to http://127.0.0.1:1: ")
    assert "hunter2" not in error


async def test_a_compressed_answer_is_refused_unread() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert "Accept-Encoding" not in request.headers
        bomb = gzip.compress(b" " * 50_000_000)
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with answering(answer) as url:
        assert await refused(url) == (
            f"GET /v1/instances/x at {url}: the answer is compressed, which was not requested"
        )


async def test_only_the_beginning_of_a_long_refusal_is_read() -> None:
    written = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(status=503)
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * MAX_REFUSAL_BYTES)
            written += 1
        return response

    async with answering(answer) as url:
        assert "answered 503" in await refused(url)
    assert written < 1000


async def test_an_endless_answer_is_cut_off() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 2**20)

    async with answering(answer) as url:
        assert f"larger than {MAX_ANSWER_BYTES:,} bytes" in await refused(url)


@pytest.mark.parametrize("job_id", [".", "..", ""])
async def test_an_id_that_would_name_another_path_is_refused(job_id: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        raise AssertionError

    async with answering(answer) as url, RestClient(url) as client:
        with pytest.raises(Rejected, match="is not an id"):
            await client.complete_job(job_id, "w", {})
