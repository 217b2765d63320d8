"""An HTTP proxy in front of the API server that can hold back watches, or answer in its place."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

import aiohttp
import yaml
from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

_PASSED: Final = ("Accept", "Authorization", "Content-Type")


class HttpProxy:
    """Use it in a `with` block, with the kubeconfig that it derives from another one."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._server: str = cluster["server"]
        self._tls = ssl.create_default_context(cadata=authority)
        self._config = config
        self._streams: set[tuple[str, asyncio.Task[None]]] = set()
        self._started = threading.Event()
        self.kubeconfig = kubeconfig.with_name(f"{kubeconfig.stem}-through-a-proxy.kubeconfig")
        self.silent: str | None = None
        """The plural of a kind: its watches deliver nothing, neither current nor future ones."""
        self.expire: str | None = None
        """The plural of a kind: its next watch gets the answer that its resource version is too old, once."""
        self.wait: int | None = None
        """Every request is answered with 429 and this many seconds to wait."""
        self.requests: list[tuple[float, str]] = []
        """Time and path of each request."""

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def cut(self, plural: str = "") -> None:
        """Break the current watches of a kind, or all of them."""
        for path, task in list(self._streams):
            if path.endswith(plural):
                self._loop.call_soon_threadsafe(task.cancel)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self._config["clusters"][0]["cluster"] = {"server": f"http://{host}:{port}"}
        self.kubeconfig.write_text(yaml.safe_dump(self._config))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=self._tls)) as self._http:
            self._started.set()
            await self._stop.wait()
            self.cut()
            await runner.cleanup()
        await asyncio.sleep(0.2)  # connections close a moment later

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((monotonic(), request.path))
        if self.wait is not None:
            return _refusal(429, {"Retry-After": f"{self.wait}"})
        watches = "watch" in request.query
        if watches and self.expire is not None and request.path.endswith(self.expire):
            self.expire = None
            return web.json_response({"type": "ERROR", "object": _status(410)})
        body = await request.read()
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        response = web.StreamResponse()
        task = asyncio.ensure_future(self._forward(request, response, body, headers))
        if watches:
            self._streams.add((request.path, task))
        with suppress(asyncio.CancelledError, ConnectionError):
            await task
        self._streams.discard((request.path, task))
        return response

    async def _forward(
        self, request: web.Request, response: web.StreamResponse, body: bytes, headers: dict[str, str]
    ) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        url = self._server + request.raw_path
        async with self._http.request(
            request.method, url, data=body or None, headers=headers, timeout=timeout
        ) as answer:
            response.set_status(answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                if "watch" not in request.query or self.silent is None or not request.path.endswith(self.silent):
                    await response.write(chunk)
            if "watch" in request.query and self.silent is not None and request.path.endswith(self.silent):
                await self._stop.wait()  # it doesn't even end


def _refusal(status: int, headers: dict[str, str]) -> web.Response:
    return web.json_response(_status(status), status=status, headers=headers)


def _status(code: int) -> dict[str, object]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "not now"}
