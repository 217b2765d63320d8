"""Runs the dev engine: in a test's own loop, or as a process of its own."""

import asyncio
import signal
import sys
from types import TracebackType
from typing import Self

import structlog
import uvloop
from aiohttp import web

from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.rest import rest_app

KEEP_ALIVE_SECONDS = 120.0
"""How long an idle connection is kept (engine.md)."""


class DevEngine:
    """An engine in this process: `async with DevEngine() as engine: … engine.url … engine.state …`.

    `lease` is how long a claim lasts and `sweep` how often expired ones are looked for, in seconds; the defaults are
    the engine's. Port 0 takes a free port. Raises `OSError` where the address cannot be bound.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, lease: float = 30.0, sweep: float = 15.0) -> None:
        self.state = EngineState(lease=lease)
        self.url = ""
        self._sweep = sweep
        self._host, self._port = host, port
        self._runner = web.AppRunner(
            rest_app(self.state), access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS, shutdown_timeout=0.1
        )

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self.url = f"http://{self._host}:{self._runner.addresses[0][1]}"
        self._sweeper = asyncio.create_task(self._sweep_leases(), name="dev engine sweeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sweeper.cancel()
        await self._runner.cleanup()

    async def _sweep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._sweep)
            self.state.sweep()


def run(host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT, then stop at once; return the process's exit code."""
    try:
        uvloop.run(_serve(host, port))
    except OSError as error:
        print(f"dev-engine: cannot listen on {host}:{port}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


async def _serve(host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with DevEngine(host=host, port=port) as engine:
        structlog.get_logger("rochallor_worker.devengine").info("dev engine started", url=engine.url)
        await stop.wait()
