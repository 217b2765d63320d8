"""What passes over a worker's wire, and what its director sees of it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from aiohttp import web

from rochallor_worker.chaos.effects import Request
from rochallor_worker.chaos.wire import Answer, Ask, Send, Wire


class Director:
    """Lets everything pass that is not to be cut, and remembers it."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.cut = False

    async def polled(self, worker: str, job_types: list[str], ask: Ask) -> Answer | None:
        self.seen.append((worker, job_types))
        return None if self.cut else await ask(job_types[:1])

    async def reported(self, worker: str, job_id: str, outcome: str, send: Send) -> Answer | None:
        self.seen.append((worker, job_id, outcome))
        return None if self.cut else await send()

    async def requested(self, worker: str, request: Request, send: Send) -> Answer | None:
        self.seen.append((worker, request.method, request.url, request.key))
        return None if self.cut else await send()


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """A server that answers with what it was asked; yields its URL."""

    async def echo(request: web.Request) -> web.Response:
        text = f"{request.method} {request.rel_url} {await request.text()}"
        return web.Response(text=text, status=201, headers={"X-Kind": request.headers.get("X-Kind", "none")})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def service() -> AsyncIterator[str]:
    async with server() as url:
        yield url


@pytest.fixture
def director() -> Director:
    return Director()


@pytest.fixture
async def wire(director: Director, service: str) -> AsyncIterator[str]:
    async with server() as engine, Wire("w", engine, {"SHOP": f"{service}/api/"}, director).open() as url:
        yield url


async def test_a_poll_asks_for_one_job_of_the_types_that_the_director_chooses(wire: str, director: Director) -> None:
    poll = {"workerId": "w", "jobTypes": ["a", "b"], "maxJobs": 7, "leaseSeconds": 30}
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{wire}/v1/jobs/poll", json=poll)
    assert director.seen == [("w", ["a", "b"])]
    assert json.loads(answer.text.removeprefix("POST /v1/jobs/poll ")) == poll | {"jobTypes": ["a"], "maxJobs": 1}


async def test_outcomes_are_shown_and_other_calls_pass(wire: str, director: Director) -> None:
    async with httpx.AsyncClient(base_url=wire, trust_env=False) as client:
        assert (await client.post("/v1/jobs/j/complete", content="{}")).text == "POST /v1/jobs/j/complete {}"
        assert (await client.get("/v1/instances/i%2F1?x=1")).text == "GET /v1/instances/i%2F1?x=1 "
    assert director.seen == [("w", "j", "complete")]


async def test_it_is_an_http_proxy(wire: str, director: Director, service: str) -> None:
    async with httpx.AsyncClient(proxy=wire, trust_env=False) as client:
        answer = await client.post(
            f"{service}/v1/jobs/poll?x=%20y", content="hi", headers={"X-Kind": "odd", "Idempotency-Key": "k"}
        )
    assert (answer.status_code, answer.text) == (201, "POST /v1/jobs/poll?x=%20y hi")
    assert answer.headers["X-Kind"] == "odd"
    assert director.seen == [("w", "POST", f"{service}/v1/jobs/poll?x=%20y", "k")]


async def test_a_service_is_reached_below_its_name(wire: str, director: Director, service: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.put(f"{wire}/to/SHOP/charges%2F1?x=1", content=b"x")
    assert answer.text == "PUT /api/charges%2F1?x=1 x"
    assert director.seen == [("w", "PUT", f"{service}/api/charges%2F1?x=1", "")]


@pytest.mark.parametrize("path", ["/v1/jobs/poll", "/v1/jobs/j/fail", "/to/SHOP/x"])
async def test_what_the_director_cuts_has_no_answer(wire: str, director: Director, path: str) -> None:
    director.cut = True
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.TransportError):
            await client.post(wire + path, json={"jobTypes": ["a"]})


async def test_a_server_that_is_not_there_has_no_answer(wire: str) -> None:
    async with httpx.AsyncClient(proxy=wire, trust_env=False) as client:
        with pytest.raises(httpx.TransportError):
            await client.get("http://127.0.0.1:1/")
