"""Keeps a Deployment of workers for every RochallorWorker of a Kubernetes cluster."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from socket import gethostname
from time import monotonic
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from prometheus_client import REGISTRY

from rochallor_operator import handlers, health, logs, settings
from rochallor_operator.canary import Canary
from rochallor_operator.errors import StartError
from rochallor_operator.kube import Kube, load_configuration
from rochallor_operator.leader import Elector
from rochallor_operator.metrics import LEADER, QUEUE_DEPTH, Resources
from rochallor_operator.queue import WorkQueue
from rochallor_operator.recent import Recent
from rochallor_operator.reconcile import Reconciler
from rochallor_operator.watching import keep_watching, until_known

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kubernetes.aio.client import Configuration

log = logging.getLogger("rochallor_operator")

STUCK_S: Final = 300.0
"""A reconcile is a dozen requests, each with a limit of 10 s; one that runs so long will never end."""

NESTING_LIMIT: Final = 50_000
"""Calls within calls. The API server takes objects of 10,000 levels; one that can't be read ends the watch of all."""


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit code 2 for a start error, 1 when watching or the leadership ended."""
    parser = argparse.ArgumentParser(
        prog="rochallor-operator",
        description=__doc__,
        epilog=f"settings, by environment variables:\n{settings.described()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rochallor-operator {version('rochallor-operator')}")
    parser.parse_args()
    logs.configure("INFO")
    sys.setrecursionlimit(NESTING_LIMIT)
    try:
        values = settings.load()
        logs.configure(values.log_level)
        asyncio.run(_run(values))
    except StartError as error:
        log.error(str(error))
        sys.exit(2)
    except asyncio.CancelledError:
        log.info("stopped")
    except ExceptionGroup as group:
        # A new start waits until the resource is known and the lease is free, and lists everything.
        log.error("stopped, because %s", _cause(group))
        sys.exit(1)


async def _run(values: settings.Settings) -> None:
    configuration = await load_configuration()
    recent = Recent(monotonic)
    kube = Kube(configuration, recent)
    state = health.Health()
    _cancel_on_signal()
    try:
        async with health.serve(state, values.http_port) as port:
            log.info("started", extra={"version": version("rochallor-operator"), "http_port": port})
            await until_known(kube, state)
            state.not_ready = None
            async with _leadership(kube, values):
                await _work(kube, recent, state, configuration, values)
    finally:
        await kube.close()


def _cancel_on_signal() -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)


@asynccontextmanager
async def _leadership(kube: Kube, values: settings.Settings) -> AsyncIterator[None]:
    """Be the only operator that works while inside. Ends what is inside when that is no longer certain."""
    if not values.leader_election:
        LEADER.set(1)
        yield
        return
    LEADER.set(0)
    # A new start of the same pod is another candidate.
    elector = Elector(kube, values.own_namespace, values.name, identity=f"{gethostname()}_{uuid4().hex[:8]}")
    await elector.acquire()
    LEADER.set(1)
    kube.may_write = lambda: elector.leads
    try:
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(elector.renew())
            yield
            renewing.cancel()
    finally:
        await elector.release()


async def _work(
    kube: Kube, recent: Recent, state: health.Health, configuration: Configuration, values: settings.Settings
) -> None:
    """Watch and reconcile. Never returns."""
    reconciler = Reconciler(kube, values.worker_image)
    queue = WorkQueue(reconciler.reconcile)
    canary = Canary(kube, values.own_namespace, values.name)
    watch = handlers.Watch(kube, configuration, queue, reconciler, recent, canary, values.own_namespace)
    QUEUE_DEPTH.set_function(lambda: queue.depth)
    REGISTRY.register(Resources(reconciler.verdicts))
    state.checks += [canary.trouble, lambda: _stuck(queue.longest_run)]
    async with asyncio.TaskGroup() as group:
        group.create_task(queue.run())
        group.create_task(reconciler.costs.run(queue.add))
        group.create_task(canary.run())
        everywhere = not values.namespaces
        run = partial(watch.run, everywhere=everywhere)
        group.create_task(keep_watching(kube, values.namespaces, run, watch.outdated))


def _cause(error: Exception) -> Exception:
    """What went wrong first, out of the groups that it passed."""
    return _cause(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


def _stuck(seconds: float) -> str | None:
    return f"a reconcile has been running for {seconds:.0f} s" if seconds > STUCK_S else None


if __name__ == "__main__":
    main()
