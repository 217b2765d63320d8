"""Runs the dev engine: in a test's own loop, or as a process of its own."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
import uvloop
from aiohttp import web

from rochallor_worker.devengine.faults import Faults
from rochallor_worker.devengine.gateway import Gateway, read_token
from rochallor_worker.devengine.model import DispatchMode, EngineState
from rochallor_worker.devengine.rest import rest_app

KEEP_ALIVE_SECONDS = 120.0
"""How long an idle connection is kept (engine.md)."""


class DevEngine:
    """An engine in this process: `async with DevEngine() as engine: … engine.url … engine.state …`.

    `lease` is how long a claim lasts and `sweep` how often expired ones are looked for, in seconds; the defaults are
    the engine's. Port 0 takes a free port; gRPC is served at `grpc_target` if it is given a port too. With the dispatch
    mode "kafka_outbox" polls are refused, and jobs are published to the brokers at `kafka` (host:port, several with
    commas between them; PLAINTEXT) if it is given. `gateway` is what stands in front of both interfaces. `faults` makes
    calls go wrong. `stop` and `start` are a restart that keeps the state and the ports, and publishes the last `replay`
    events again. Raises `ValueError` for a bad address of Kafka; `start` raises `OSError` where an address cannot be
    bound.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        grpc_port: int | None = None,
        lease: float = 30.0,
        sweep: float = 15.0,
        dispatch_mode: DispatchMode = "polling",
        kafka: str | None = None,
        replay: int = 10,
        gateway: Gateway | None = None,
    ) -> None:
        if kafka is not None and dispatch_mode != "kafka_outbox":
            raise ValueError('kafka needs the dispatch mode "kafka_outbox"')
        for address in () if kafka is None else kafka.split(","):
            _check_address(address)
        self.state = EngineState(lease=lease, dispatch_mode=dispatch_mode, replay=replay)
        self.faults = Faults()
        self._host, self._port, self._grpc_port = host, port, grpc_port
        self._sweep = sweep
        self._kafka = kafka
        self._gateway = gateway or Gateway()
        self._running: AsyncExitStack | None = None

    @property
    def url(self) -> str:
        """Where REST is served."""
        return f"http{'s' if self._gateway.cert_file else ''}://{self._host}:{self._port}"

    @property
    def grpc_target(self) -> str:
        """Where gRPC is served."""
        return f"{self._host}:{self._grpc_port}"

    async def start(self) -> None:
        """Listen, on the same ports as before if this is a restart."""
        async with AsyncExitStack() as started:
            self._port = await started.enter_async_context(
                _rest(self.state, self.faults, self._host, self._port, self._gateway)
            )
            if self._grpc_port is not None:
                from rochallor_worker.devengine import grpc  # noqa: PLC0415 — REST alone need not load it

                credentials = grpc.credentials_of(self._gateway)
                self._grpc_port = await started.enter_async_context(
                    grpc.serve(self.state, self.faults, self._host, self._grpc_port, credentials, self._gateway)
                )
            if self._kafka is not None:
                from rochallor_worker.devengine import relay  # noqa: PLC0415 — only where Kafka is used

                await started.enter_async_context(relay.relaying(self.state.outbox, self._kafka))
            sweeper = asyncio.create_task(self._sweep_leases(), name="dev engine sweeper")
            started.callback(sweeper.cancel)
            started.callback(self.faults.abandon)
            self._running = started.pop_all()

    async def stop(self) -> None:
        """Close all connections and refuse new ones, at once. The state stays, and leases run on."""
        if self._running is not None:
            await self._running.aclose()
            self._running = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _sweep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._sweep)
            self.state.sweep()


def _check_address(text: str) -> None:
    """Raise `ValueError` unless it is host:port."""
    host, _, port = text.strip().rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"a Kafka address must be host:port, is {text!r}")


@asynccontextmanager
async def _rest(state: EngineState, faults: Faults, host: str, port: int, gateway: Gateway) -> AsyncIterator[int]:
    """Serve REST; gives the port."""
    runner = web.AppRunner(
        rest_app(state, faults, gateway), access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS, shutdown_timeout=0
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=gateway.tls()).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def run(
    host: str,
    port: int,
    grpc_port: int | None = None,
    kafka: str | None = None,
    *,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    token_file: Path | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then stop at once; return the process's exit code.

    gRPC is served if it is given a port. Jobs are published to the brokers at `kafka`, if given, and not polled. The
    files are what a gateway in front would have: a certificate with its key, and the token that it asks for.
    """
    mode: DispatchMode = "polling" if kafka is None else "kafka_outbox"
    try:
        gateway = Gateway(cert_file, key_file, read_token(token_file) if token_file is not None else None)
        engine = DevEngine(host=host, port=port, grpc_port=grpc_port, dispatch_mode=mode, kafka=kafka, gateway=gateway)
    except ValueError as error:
        print(f"dev-engine: {error}", file=sys.stderr)
        return 2
    try:
        uvloop.run(_serve(engine, grpc=grpc_port is not None, kafka=kafka))
    except OSError as error:
        ports = f"{port}" if grpc_port is None else f"{port} and {grpc_port}"
        print(f"dev-engine: cannot listen on {host}:{ports}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


async def _serve(engine: DevEngine, *, grpc: bool, kafka: str | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with engine:
        where = {"url": engine.url} | ({"grpc": engine.grpc_target} if grpc else {})
        where |= {} if kafka is None else {"kafka": kafka}
        structlog.get_logger("rochallor_worker.devengine").info("dev engine started", **where)
        await stop.wait()
