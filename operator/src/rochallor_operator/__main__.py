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

from rochallor_operator.cluster.cache import Cache
from rochallor_operator.cluster.canary import Canary
from rochallor_operator.cluster.client import load_configuration
from rochallor_operator.cluster.kube import Kube
from rochallor_operator.cluster.leader import Elector
from rochallor_operator.content.hash_key import wait_for_key
from rochallor_operator.errors import KubernetesError, StartError
from rochallor_operator.names import Release
from rochallor_operator.reconcile import Reconciler
from rochallor_operator.runtime import health, logs, settings
from rochallor_operator.runtime.metrics import LEADER, QUEUE_DEPTH, WATCH_SILENCE, Backlogs, Resources
from rochallor_operator.runtime.queue import WorkQueue
from rochallor_operator.watch import triggers
from rochallor_operator.watch.resync import resync
from rochallor_operator.watch.supervisor import keep_watching, wait_for_crd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kubernetes.aio.client import Configuration

    from rochallor_operator.names import Manifest

log = logging.getLogger("rochallor_operator")

STUCK_S: Final = 300.0
"""A reconcile makes about a dozen requests, each limited to 10 s; one that runs this long will never end."""

MIN_PAUSE_S: Final = 0.5
"""The shortest time between the starts of two reconciles of a resource."""

NESTING_LIMIT: Final = 50_000
"""Recursion limit. The API server accepts objects nested 10,000 levels deep; one that can't be parsed ends a watch."""


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit code 2 for a start error, 1 when the watch failed or leadership was lost."""
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
        # A restart waits for the CRD and the lease, and lists everything.
        log.error("stopped: %s", _cause(group))
        sys.exit(1)


async def _run(values: settings.Settings) -> None:
    configuration = await load_configuration()
    cache = Cache(monotonic)
    kube = Kube(configuration, cache)
    state = health.Health()
    _cancel_on_signal()
    try:
        async with health.serve(state, values.http_port) as port:
            log.info("started", extra={"version": version("rochallor-operator"), "http_port": port})
            await wait_for_crd(kube, state)
            key = await wait_for_key(kube, state, values.own_namespace, values.name)
            state.not_ready = None
            release = Release(f"{values.own_namespace}/{values.name}", values.worker_image, key)
            owners = await _owners(kube, values.own_namespace)
            async with _leadership(kube, values, owners):
                await _work(kube, cache, state, configuration, values, release, owners)
    finally:
        await kube.close()


def _cancel_on_signal() -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)


async def _owners(kube: Kube, namespace: str) -> list[Manifest]:
    """The owner of the operator's own objects. Without one they stay when the chart is uninstalled."""
    try:
        return await kube.own_account(namespace)
    except KubernetesError as error:
        log.warning("can't find out the operator's own account", extra={"error": str(error)})
        return []


@asynccontextmanager
async def _leadership(kube: Kube, values: settings.Settings, owners: list[Manifest]) -> AsyncIterator[None]:
    """Be the only active operator while inside. The body is cancelled when that is no longer certain."""
    if not values.leader_election:
        LEADER.set(1)
        yield
        return
    LEADER.set(0)
    # A restart of the same pod is another candidate.
    identity = f"{gethostname()}_{uuid4().hex[:8]}"
    elector = Elector(kube, values.own_namespace, values.name, identity, owners=owners)
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
    kube: Kube,
    cache: Cache,
    state: health.Health,
    configuration: Configuration,
    values: settings.Settings,
    release: Release,
    owners: list[Manifest],
) -> None:
    """Watch and reconcile. Never returns."""
    reconciler = Reconciler(kube, release, policy=settings.policy(values))
    reconciler.served = frozenset() if values.namespaces else None  # until its rights in them are known
    queue = WorkQueue(reconciler.reconcile, pause=MIN_PAUSE_S, group=lambda key: key.namespace)
    canary = Canary(kube, values.own_namespace, values.name, owners)
    sources = triggers.SOURCES if values.watch_secrets else ("ConfigMap",)
    watch = triggers.Watch(kube, configuration, queue, reconciler, cache, canary, values.own_namespace, sources)
    QUEUE_DEPTH.set_function(lambda: queue.depth)
    REGISTRY.register(Resources(reconciler.conditions))
    REGISTRY.register(Backlogs(reconciler.beside.backlogs.metrics))
    kube.on_answer = watch.on_answer
    for kind in triggers.WATCHED:
        WATCH_SILENCE.labels(kind=kind).set_function(partial(watch.silence, kind))
    state.checks += [canary.problem, watch.problem, lambda: _stuck(queue.longest_run)]
    async with asyncio.TaskGroup() as group:
        group.create_task(queue.run())
        group.create_task(reconciler.claims.run(queue.add))
        group.create_task(reconciler.beside.run(queue.add))
        group.create_task(reconciler.connection_statuses.run())
        group.create_task(canary.run())
        group.create_task(resync(kube, reconciler, queue))
        everywhere = not values.namespaces
        run = partial(watch.run, everywhere=everywhere)
        group.create_task(keep_watching(kube, values.namespaces, run, watch.outdated))


def _cause(error: Exception) -> Exception:
    """The first error inside nested exception groups."""
    return _cause(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


def _stuck(seconds: float) -> str | None:
    return f"a reconcile has been running for {seconds:.0f} s" if seconds > STUCK_S else None


if __name__ == "__main__":
    main()
