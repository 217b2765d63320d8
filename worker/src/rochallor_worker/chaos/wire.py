"""The wire of one worker: everything that it and its handlers say passes here, and may be held, lost or cut.

Calls to the engine arrive at the wire's own address; requests of handlers come to it as to an HTTP proxy, or below
/to/NAME in place of the base URL in the environment variable NAME.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from rochallor_worker.chaos.effects import Request, digest

MAX_BODY_BYTES = 256 * 2**20
_NOT_PASSED = {
    *("connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "transfer-encoding", "upgrade"),
    *("content-length", "host"),
}


class Answer(NamedTuple):
    """An answer to pass on."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


Send = Callable[[], Awaitable[Answer | None]]
"""Passes a request on; None if there was no answer."""
Ask = Callable[[list[str]], Awaitable[Answer | None]]
"""Asks the engine for one job of some types."""


def no_jobs() -> Answer:
    """Return the engine's answer to a poll when there are none."""
    return Answer(200, CIMultiDict({"Content-Type": "application/json"}), b'{"jobs": null}')


class Director(Protocol):
    """Decides what happens to what passes. None as an answer cuts the connection."""

    async def polled(self, worker: str, job_types: list[str], ask: Ask) -> Answer | None:
        """A worker asks for jobs."""

    async def reported(self, worker: str, job_id: str, outcome: str, send: Send) -> Answer | None:
        """A worker reports "complete" or "fail"."""

    async def requested(self, worker: str, request: Request, send: Send) -> Answer | None:
        """A handler calls another service."""


class Wire:
    """What passes between one worker, its engine and the services that its handlers call."""

    def __init__(self, worker: str, engine_url: str, services: Mapping[str, str], director: Director) -> None:
        self._worker = worker
        self._engine_url = engine_url
        self._services = services
        self._director = director
        self._here = URL()
        self._session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Serve it; yields its URL."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._here = URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
            yield str(self._here)
        finally:
            await runner.cleanup()
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        match request.path.split("/")[1:]:
            case _ if request.url.origin() != self._here:  # we are its HTTP proxy
                answer = await self._to_service(request, request.url, body)
            case ["to", name, *_] if name in self._services:
                below = str(request.rel_url).removeprefix(f"/to/{name}")
                url = URL(self._services[name].rstrip("/") + below, encoded=True)
                answer = await self._to_service(request, url, body)
            case path:
                answer = await self._to_engine(request, path, body)
        if answer is None:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _to_service(self, request: web.Request, url: URL, body: bytes) -> Answer | None:
        seen = Request(request.method, str(url), digest(body), request.headers.get("Idempotency-Key", ""), None)
        return await self._director.requested(self._worker, seen, lambda: self._send(request, url, body))

    async def _to_engine(self, request: web.Request, path: list[str], body: bytes) -> Answer | None:
        url = URL(self._engine_url + str(request.rel_url), encoded=True)
        match path:
            case ["v1", "jobs", "poll"]:
                poll = msgspec.json.decode(body)

                async def ask(job_types: list[str]) -> Answer | None:
                    return await self._send(
                        request, url, msgspec.json.encode(poll | {"jobTypes": job_types, "maxJobs": 1})
                    )

                return await self._director.polled(self._worker, poll["jobTypes"], ask)
            case ["v1", "jobs", job_id, "complete" | "fail" as outcome]:
                return await self._director.reported(
                    self._worker, job_id, outcome, lambda: self._send(request, url, body)
                )
            case _:
                return await self._send(request, url, body)

    async def _send(self, request: web.Request, url: URL, body: bytes) -> Answer | None:
        headers = _passed(request.headers)
        try:
            async with self._session.request(
                request.method, url, data=body or None, headers=headers, allow_redirects=False
            ) as answer:
                return Answer(answer.status, _passed(answer.headers), await answer.read())
        except (aiohttp.ClientError, OSError, ValueError):
            return None


def _passed(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _NOT_PASSED)
