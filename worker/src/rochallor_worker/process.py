"""One worker process: its parts put together, its signals, its HTTP server."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import structlog
import uvloop

from rochallor_worker import health
from rochallor_worker.activity import Activity
from rochallor_worker.compat import SdkMetrics
from rochallor_worker.engine.base import EngineClient
from rochallor_worker.engine.rest import RestClient
from rochallor_worker.errors import StartError
from rochallor_worker.journal import Journal
from rochallor_worker.loading import load_registry
from rochallor_worker.metrics import Metrics
from rochallor_worker.page import render
from rochallor_worker.pulse import Pulse
from rochallor_worker.runner import Runner
from rochallor_worker.settings import Settings, unknown_variables
from rochallor_worker.watchdog import Watchdog

CALL_SECONDS = 20.0
"""How long a worker waits for an answer: jobs in a poll's answer that came too late would be lost for their lease."""

YOUNG_OBJECTS = 10_000
"""New objects after which the garbage collector looks at them; by default it does at 700."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT; a second one ends the process at once. Raises `StartError`.

    Ends the process itself when jobs were cut off at the drain timeout: nothing can stop the thread of a handler, or a
    handler that does not end when it is cancelled, and an ordinary exit would wait for them.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        if loop.run(_run(settings)):
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError):  # nobody reads it any more
                    stream.flush()
            os._exit(0)


async def _run(settings: Settings) -> list[str]:
    registry = load_registry(settings.handlers)
    for name in unknown_variables(os.environ):
        log.warning("unknown setting, ignored", variable=name)
    async with connect(settings) as engine:
        runner = Runner(
            engine,
            registry,
            worker_id=settings.worker_id,
            kafka=settings.kafka,
            job_types=settings.job_types,
            parallelism=settings.parallelism,
            poll_interval=settings.poll_interval,
            handler_timeout=settings.handler_timeout,
            lease=settings.lease,
            drain_timeout=settings.drain_timeout,
            retry_pause=settings.retry_pause,
            journal=Journal(Path(settings.journal_dir)) if settings.journal_dir else None,
        )
        pulse = Pulse(runner.slots, time.monotonic)
        metrics = Metrics(runner, pulse, transport=settings.transport, worker_id=settings.worker_id)
        activity = Activity(runner.job_types, time.monotonic)
        runner.observers += [metrics.observe, activity.observe]
        if settings.metrics_compat:
            runner.observers.append(SdkMetrics(metrics.registry).observe)
        page = partial(render, runner, activity, pulse, transport=settings.transport, worker_id=settings.worker_id)
        _stop_on_signals(runner)
        async with health.serve(runner, metrics, page, settings.metrics_port) as port:
            beating = asyncio.create_task(pulse.run(), name="pulse")
            watchdog = Watchdog(asyncio.get_running_loop(), registry)
            watchdog.start()
            log.info(
                "started",
                job_types=runner.job_types,
                parallelism=settings.parallelism,
                transport=settings.transport,
                engine=settings.engine_grpc_target if settings.calls_over == "grpc" else settings.engine_url,
                metrics_port=port,
            )
            _collect_less_garbage()
            try:
                cut_off = await runner.run()
            finally:
                beating.cancel()
                watchdog.stop()
        log.info("stopped", cut_off=len(cut_off))
        return cut_off


def connect(settings: Settings) -> EngineClient:
    """Make the client of the engine. Raises `StartError` when its address or files are missing."""
    if settings.calls_over == "grpc":
        if settings.engine_grpc_target is None:
            raise StartError("ROCHALLOR_ENGINE_GRPC_TARGET is not set: must be a host and port such as engine:9090")
        from rochallor_worker.engine.grpc import GrpcClient  # noqa: PLC0415 — a REST worker need not load gRPC

        return GrpcClient(settings.engine_grpc_target, settings.connection, timeout=CALL_SECONDS)
    if settings.engine_url is None:
        raise StartError("ROCHALLOR_ENGINE_URL is not set: must be a URL such as http://engine:8080")
    return RestClient(settings.engine_url, settings.connection, timeout=CALL_SECONDS)


def _collect_less_garbage() -> None:
    """Spare the collector what it would find nothing in: what is loaded stays, and jobs leave no garbage to collect.

    It took a fifth of the CPU time of a no-op job, and eight times in 10,000 jobs it stopped the loop for 30 ms.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def _stop_on_signals(runner: Runner) -> None:
    def stop(name: str) -> None:
        if runner.draining:
            log.warning("second signal: exiting now", signal=name)
            runner.abort()
            os._exit(1)
        log.info("stopping", signal=name)
        runner.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, number.name)
