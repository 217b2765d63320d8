"""rochallor-operator: keeps a Deployment of workers for every RochallorWorker."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from importlib.metadata import version
from typing import Final

import kopf

from rochallor_operator import handlers, health, logs, settings
from rochallor_operator.errors import KubernetesError, StartError
from rochallor_operator.kube import Kube, load_configuration
from rochallor_operator.metrics import QUEUE_DEPTH
from rochallor_operator.names import API_VERSION, FOREIGN, KIND
from rochallor_operator.queue import WorkQueue
from rochallor_operator.reconcile import Reconciler

log = logging.getLogger("rochallor_operator")

_CRD_RETRY_S: Final = 3.0


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit code 2 for a start error, 1 when watching failed for good."""
    argparse.ArgumentParser(
        prog="rochallor-operator", description=__doc__, epilog=f"Settings: {settings.Settings.__doc__}"
    ).parse_args()
    logs.configure("INFO")
    try:
        values = settings.load()
        logs.configure(values.log_level)
        asyncio.run(_run(values))
    except StartError as error:
        log.error(str(error))
        sys.exit(2)
    except asyncio.CancelledError:
        pass  # told to stop before watching began
    except ExceptionGroup as group:
        # For example the CRD was removed. A new start waits until it is back, and lists everything.
        log.error("stopped, because watching failed: %s", group.exceptions[0])
        sys.exit(1)
    log.info("stopped")


async def _run(values: settings.Settings) -> None:
    configuration = await load_configuration()
    kube = Kube(configuration)
    reconciler = Reconciler(kube, values.worker_image)
    queue = WorkQueue(reconciler.reconcile)
    QUEUE_DEPTH.set_function(lambda: queue.depth)
    state = health.Health()
    try:
        async with health.serve(state, values.http_port) as port:
            log.info("started", extra={"version": version("rochallor-operator"), "http_port": port})
            _cancel_on_signal()
            await _crd_served(kube, state)
            served = [kind for kind in FOREIGN if await kube.serves(kind)]
            state.not_ready = None
            log.info("watching", extra={"server": configuration.host, "namespaces": values.namespaces or "all"})
            async with asyncio.TaskGroup() as group:
                working = group.create_task(queue.run())
                await asyncio.sleep(0)  # kopf cancels every task that starts later than itself when it stops
                await kopf.operator(
                    registry=handlers.registry(queue, reconciler, configuration, served),
                    settings=handlers.kopf_settings(),
                    standalone=True,
                    clusterwide=not values.namespaces,
                    namespaces=values.namespaces,
                )
                working.cancel()
    finally:
        await kube.close()


def _cancel_on_signal() -> None:
    """Stop on a signal while waiting for the CRD. From then on kopf's own signal handlers replace these."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)


async def _crd_served(kube: Kube, state: health.Health) -> None:
    """Wait until the API server knows the resource, and say what is waited for."""
    while True:
        try:
            if await kube.serves_resource():
                return
            sentence = f"the API server does not know {KIND} in {API_VERSION}: install the CRD; waiting for it"
        except KubernetesError as error:
            sentence = str(error)
        if sentence != state.not_ready:
            log.warning(sentence)
            state.not_ready = sentence
        await asyncio.sleep(_CRD_RETRY_S)


if __name__ == "__main__":
    main()
