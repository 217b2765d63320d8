"""Runs the dev engine: in a test's own loop, or as a separate process."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from rochallor_worker.devengine.errors import InternalError
from rochallor_worker.devengine.faults import Faults
from rochallor_worker.devengine.gateway import Gateway, read_token
from rochallor_worker.devengine.model import EngineState
from rochallor_worker.devengine.records import DispatchMode, Generation, unkept
from rochallor_worker.devengine.rest import is_loopback, rest_app
from rochallor_worker.devengine.state_file import StateFile, opened
from rochallor_worker.errors import StartError
from rochallor_worker.extras import needs
from rochallor_worker.logger import get_logger

KEEP_ALIVE_SECONDS = 120.0
"""How long an idle connection is kept (engine.md)."""
TICK_SECONDS = 1.0
"""How often timers are checked; the real engine does it every 5 s."""

log = get_logger(__name__)

GENERATIONS: dict[str, tuple[Generation, bool]] = {"A": ("A", False), "C": ("fenced", False), "D": ("fenced", True)}
"""The rules of each generation, and whether leases can be renewed."""


class DevEngine:
    """An engine in this process: `async with DevEngine() as engine: … engine.url … engine.state …`.

    `generation` and `heartbeat` choose the rules (engine.md: "Generations"); fenced without heartbeat is C. `lease` is
    how long a claim lasts, unless the poll asks for another length, and `sweep` how often expired leases are recovered,
    in seconds; the defaults are the engine's. `clock` returns epoch seconds; `advance` moves it forward at once. Port 0
    takes a free port; gRPC is served at `grpc_target` if `grpc_port` is given. With the dispatch mode "kafka_outbox"
    polls are refused, and jobs are published to the brokers at `kafka` (host:port, comma-separated; PLAINTEXT), if
    given. `gateway` is in front of both interfaces. `faults` makes calls fail. `stop` and `start` are a restart that
    keeps the state and the ports, and publishes the last `replay` events again. With a `state_file` the engine goes on
    where the one before it ended. Raises `ValueError` for an invalid Kafka address, and `StartError` for a damaged
    state file; `start` raises `OSError` if an address cannot be bound.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        grpc_port: int | None = None,
        generation: Generation = "fenced",
        heartbeat: bool = True,
        lease: float = 30.0,
        sweep: float = 15.0,
        clock: Callable[[], float] = time.time,
        dispatch_mode: DispatchMode = "polling",
        kafka: str | None = None,
        replay: int = 10,
        gateway: Gateway | None = None,
        state_file: StateFile | None = None,
    ) -> None:
        if kafka is not None and dispatch_mode != "kafka_outbox":
            raise ValueError('kafka needs the dispatch mode "kafka_outbox"')
        for address in () if kafka is None else kafka.split(","):
            _check_address(address)
        self.state = EngineState(
            generation=generation,
            heartbeat=heartbeat,
            lease=lease,
            clock=clock,
            dispatch_mode=dispatch_mode,
            replay=replay,
            changed=unkept if state_file is None else state_file.changed,
        )
        if state_file is not None:
            state_file.restore(self.state)
        self._commit: Callable[[], None] = (lambda: None) if state_file is None else state_file.commit
        self.faults = Faults(self._commit)
        self._host, self._port, self._grpc_port = host, port, grpc_port
        self._sweep = sweep
        self._kafka = kafka
        self._gateway = gateway or Gateway()
        self._running: AsyncExitStack | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

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
                with needs("grpc", "gRPC"):
                    from rochallor_worker.devengine import grpc  # noqa: PLC0415 — REST alone does not need it

                credentials = grpc.credentials_of(self._gateway)
                self._grpc_port = await started.enter_async_context(
                    grpc.serve(self.state, self.faults, self._host, self._grpc_port, credentials, self._gateway)
                )
            if self._kafka is not None:
                with needs("kafka", "Kafka"):
                    from rochallor_worker.devengine import relay  # noqa: PLC0415 — polling alone does not need it

                await started.enter_async_context(relay.relaying(self.state.outbox, self._kafka))
            sweeper = asyncio.create_task(self._sweep_leases(), name="dev engine sweeper")
            started.callback(sweeper.cancel)
            ticker = asyncio.create_task(self._tick(), name="dev engine timers")
            started.callback(ticker.cancel)
            started.callback(self.faults.abandon)
            self._loop = asyncio.get_running_loop()
            self._running = started.pop_all()

    async def stop(self) -> None:
        """Close all connections and refuse new ones, at once. The state is kept, and leases run on."""
        if self._running is not None:
            await self._running.aclose()
            self._running = self._loop = None

    def advance(self, seconds: float) -> None:
        """Advance the engine's clock at once: timers fire in order, and leases end. Thread-safe."""

        async def advance() -> None:
            self.state.advance(seconds)

        if self._loop is None or self._loop is _running_loop():
            self.state.advance(seconds)
        else:
            asyncio.run_coroutine_threadsafe(advance(), self._loop).result()

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
            self.state.replica().sweep()
            self._commit_in_background()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(min(TICK_SECONDS, self._sweep))
            self.state.fire()
            self._commit_in_background()

    def _commit_in_background(self) -> None:
        """Write what has changed; if that is impossible, try again the next time, as calls do."""
        try:
            self._commit()
        except InternalError as error:
            log.error(str(error))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _check_address(text: str) -> None:
    """Raise `ValueError` unless it is host:port."""
    host, _, port = text.strip().rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"a Kafka address must be host:port, is {text!r}")


@asynccontextmanager
async def _rest(state: EngineState, faults: Faults, host: str, port: int, gateway: Gateway) -> AsyncIterator[int]:
    """Serve REST; yields the port."""
    app = rest_app(state, faults, gateway, loopback=is_loopback(host))
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS, shutdown_timeout=0)
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
    generation: str = "D",
    lease: float = 30.0,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    token_file: Path | None = None,
    state: Path | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then stop at once; return the process's exit code.

    `generation` is A, C or D. gRPC is served if it has a port. With brokers in `kafka`, jobs are published there, not
    polled. The files are those of a gateway in front: a certificate with its key, and the token that it requires; and
    `state`, which keeps everything for the next engine.
    """
    mode: DispatchMode = "polling" if kafka is None else "kafka_outbox"
    with ExitStack() as files:
        try:
            if generation not in GENERATIONS:
                raise ValueError(f"--generation must be A, C or D, is {generation!r}")
            rules, renewable = GENERATIONS[generation]
            gateway = Gateway(cert_file, key_file, read_token(token_file) if token_file is not None else None)
            engine = DevEngine(
                host=host,
                port=port,
                grpc_port=grpc_port,
                generation=rules,
                heartbeat=renewable,
                lease=lease,
                dispatch_mode=mode,
                kafka=kafka,
                gateway=gateway,
                state_file=None if state is None else files.enter_context(opened(state)),
            )
        except (ValueError, StartError) as error:
            print(f"dev-engine: {error}", file=sys.stderr)
            return 2
        try:
            import uvloop  # noqa: PLC0415 — a dev engine in a test's own loop does not need it

            uvloop.run(_serve(engine, grpc=grpc_port is not None, kafka=kafka, state=state))
        except StartError as error:
            print(f"dev-engine: {error}", file=sys.stderr)
            return 2
        except OSError as error:
            ports = f"{port}" if grpc_port is None else f"{port} and {grpc_port}"
            print(f"dev-engine: cannot listen on {host}:{ports}: {error.strerror or error}", file=sys.stderr)
            return 2
    return 0


async def _serve(engine: DevEngine, *, grpc: bool, kafka: str | None, state: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with engine:
        where: dict[str, Any] = {"url": engine.url} | ({"grpc": engine.grpc_target} if grpc else {})
        where |= {} if kafka is None else {"kafka": kafka}
        where |= {} if state is None else {"state": str(state), "instances": len(engine.state.instances)}
        get_logger("rochallor_worker.devengine").info("dev engine started", **where)
        await stop.wait()
