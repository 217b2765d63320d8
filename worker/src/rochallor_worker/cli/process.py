"""One worker process: assembles its parts, serves its HTTP endpoints, and ends in order at a signal.

The process ends within a fixed time, whatever handlers leave running.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvloop

from rochallor_worker.cli import logs
from rochallor_worker.cli.connections import engine_connection, kafka_connection
from rochallor_worker.cli.settings import Settings, unknown_variables
from rochallor_worker.engine.client import EngineClient
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import StartError
from rochallor_worker.execution.gates import one_pod, pods_of
from rochallor_worker.execution.journal import Journal
from rochallor_worker.execution.runner import Runner
from rochallor_worker.extras import needs
from rochallor_worker.handlers.loading import load_registry
from rochallor_worker.handlers.processes import Processes
from rochallor_worker.logger import get_logger
from rochallor_worker.observability import http
from rochallor_worker.observability.activity import Activity
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.observability.sdk_metrics import Dispatch, SdkMetrics
from rochallor_worker.observability.status import status
from rochallor_worker.observability.watchdog import Watchdog
from rochallor_worker.registry import Registry
from rochallor_worker.traces import wanted

if TYPE_CHECKING:
    from rochallor_worker.observability.tracing import Traces

CALL_SECONDS = 20.0
"""How long a worker waits for an answer: jobs in a poll's answer that comes later would be lost for their lease."""
EXIT_SECONDS = 3.0
"""How long remaining threads may take to end, once the worker has stopped."""
DRAIN_GRACE = 8.0
"""Seconds beyond the drain timeout after which the process ends even if it has not stopped: its loop is blocked."""
ABORT_SECONDS = 1.0
"""How long a second signal waits for the loop to close the journal."""
SWITCH_SECONDS = 0.0005
"""How long a thread may compute while others wait; Python's default is ten times as long."""
YOUNG_OBJECTS = 10_000
"""New objects after which the garbage collector runs; its default is 700."""

log = get_logger(__name__)


def run(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT; a second one ends the process at once. Raises `StartError`.

    Once it has stopped, the process ends within `EXIT_SECONDS`: nothing can stop a thread of a handler or of a user's
    library, and an ordinary exit would wait for it.
    """
    if (folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR")) and not Path(folder).is_dir():
        raise StartError(
            f"PROMETHEUS_MULTIPROC_DIR={folder!r} is not a folder; a worker needs none: remove the variable"
        )
    # before there is a loop, as in `check`: a module may run a loop of its own while it is imported
    registry = load_registry(settings.handlers)
    settings.limit(registry)
    for name in unknown_variables(os.environ):
        log.warning("unknown setting, ignored", variable=name)
    if settings.token_in_clear:
        log.warning("a token or its secret is sent without TLS and can be read in transit: use https:// or TLS files")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        try:
            cut_off = loop.run(_run(settings, registry))
        except BaseException as error:
            exit_within(EXIT_SECONDS, 2 if isinstance(error, StartError) else 1)  # as cli/main.py exits
            raise
        exit_within(0.0 if cut_off else EXIT_SECONDS)


async def _run(settings: Settings, registry: Registry) -> list[str]:
    async with connect(settings) as engine:
        runner = Runner(
            engine,
            registry,
            worker_id=settings.worker_id,
            kafka=kafka_connection(settings),
            job_types=settings.job_types,
            parallelism=settings.parallelism,
            threads=settings.threads,
            processes=Processes(
                settings.processes,
                jobs=settings.process_jobs,
                memory=settings.process_memory and settings.process_memory * 1024**2,
                prepare=logs.to_logging,
            ),
            pods=pods_of(Path(settings.pods_file)) if settings.pods_file else one_pod,
            poll_interval=settings.poll_interval,
            handler_timeout=settings.handler_timeout,
            lease=settings.lease,
            drain_timeout=settings.drain_timeout,
            retry_pause=settings.retry_pause,
            journal=Journal(Path(settings.journal_dir)) if settings.journal_dir else None,
        )
        sampler = Sampler(runner.slots, runner.gates, time.monotonic)
        metrics = Metrics(runner, sampler, transport=settings.transport, worker_id=settings.worker_id)
        activity = Activity(runner.job_types, time.monotonic)
        runner.observers += [metrics.observe, activity.observe, sampler.observe]
        if settings.metrics_compat:
            dispatch: Dispatch = "kafka" if settings.transport == "kafka" else "polling"
            runner.observers.append(SdkMetrics(metrics.registry, dispatch).observe)
        if (traces := _traces(settings)) is not None:
            runner.trace_with(traces)
            metrics.count_dropped_spans(lambda: traces.dropped)
        shown = partial(
            status,
            runner,
            activity,
            sampler,
            transport=settings.transport,
            worker_id=settings.worker_id,
            clock=time.monotonic,
        )
        stop_on_signals(runner, settings.drain_timeout)
        async with http.serve(runner, metrics, shown, settings.metrics_port, settings.metrics_host) as port:
            sampling = asyncio.create_task(sampler.run(), name="sampler")
            watchdog = Watchdog(asyncio.get_running_loop(), registry)
            watchdog.start()

            def started() -> None:
                log.info(
                    "started",
                    job_types=runner.job_types,
                    parallelism=settings.parallelism,
                    transport=settings.transport,
                    engine=settings.engine_grpc_target if settings.calls_over == "grpc" else settings.engine_url,
                    metrics_port=port,
                )
                if any(not handler.is_async and handler.executor == "thread" for handler in registry):
                    _make_room_for_the_loop(settings)
                _collect_less_garbage()

            try:
                cut_off = await runner.run(started)
            finally:
                sampling.cancel()
                watchdog.stop()
                if traces is not None:
                    await asyncio.to_thread(traces.close)
        log.info("stopped", cut_off=len(cut_off))
        return cut_off


def _traces(settings: Settings) -> "Traces | None":
    """Return what exports traces, if the OTEL_* variables ask for it. What keeps it from doing so stops no worker: a
    platform may set these variables for all of its pods."""
    if not wanted(os.environ):
        return None
    try:
        with needs("otel", "tracing"):
            from rochallor_worker.observability.tracing import Traces  # noqa: PLC0415 — the extra may be missing

        traces = Traces(settings.worker_id)
    except StartError as error:
        log.warning("traces are not exported", error=str(error))
        return None
    traces.publish()
    return traces


def connect(settings: Settings) -> EngineClient:
    """Create the client of the engine. Raises `StartError` if its address or files are missing."""
    if settings.calls_over == "grpc":
        if settings.engine_grpc_target is None:
            raise StartError("ROCHALLOR_ENGINE_GRPC_TARGET is not set: must be a host and port such as engine:9090")
        with needs("grpc", "gRPC"):
            from rochallor_worker.engine.grpc.client import GrpcClient  # noqa: PLC0415 — REST alone needs none of it

        return GrpcClient(settings.engine_grpc_target, engine_connection(settings), timeout=CALL_SECONDS)
    if settings.engine_url is None:
        raise StartError("ROCHALLOR_ENGINE_URL is not set: must be a URL such as http://engine:8080")
    return RestClient(settings.engine_url, engine_connection(settings), timeout=CALL_SECONDS)


def _make_room_for_the_loop(settings: Settings) -> None:
    """Let threads that compute pass on the interpreter sooner: the loop waits for its turn behind all of them."""
    sys.setswitchinterval(SWITCH_SECONDS)
    if settings.parallelism > settings.threads:
        log.info(
            "fewer plain functions run at once than there are slots, so that the event loop gets its turn: "
            "ROCHALLOR_THREADS sets how many",
            threads=settings.threads,
            parallelism=settings.parallelism,
        )


def _collect_less_garbage() -> None:
    """Collect garbage rarely: what is loaded stays loaded, and jobs leave no garbage that needs the collector.

    It took a fifth of the CPU time of a no-op job, and stopped the loop for 30 ms eight times in 10,000 jobs.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def exit_within(seconds: float, code: int = 0) -> None:
    """End the process after `seconds` unless it has ended by then; log which threads are still running."""

    def end() -> None:
        time.sleep(seconds)
        left = [thread.name for thread in threading.enumerate() if not thread.daemon]
        log.warning("ending the process although threads are still running", threads=left)
        _end(code)

    threading.Thread(target=end, name="exit", daemon=True).start()


def stop_on_signals(runner: Runner, drain_timeout: float) -> None:
    """Stop the runner of the running loop at SIGTERM or SIGINT; a second one ends the process at once.

    Signals are handled on the main thread, not on the loop, which a handler may block.
    """
    loop = asyncio.get_running_loop()
    signals = 0

    def stop(name: str) -> None:
        log.info("stopping", signal=name)
        runner.stop()

    def abort(name: str) -> None:
        log.warning("second signal: exiting now", signal=name)
        runner.abort()
        _end(1)

    def received(number: int, _: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        exit_within(drain_timeout + DRAIN_GRACE if signals == 1 else ABORT_SECONDS, 1)
        with contextlib.suppress(RuntimeError):  # the loop is closed: only threads are left
            loop.call_soon_threadsafe(stop if signals == 1 else abort, signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, received)


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # its reader has gone away
            stream.flush()
    os._exit(code)
