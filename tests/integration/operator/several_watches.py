"""The watches of several operators in one process, each with the rights of one kubeconfig, until each fails.

python -m integration.operator.several_watches NAMESPACES KUBECONFIG... prints a JSON list of their errors. NAMESPACES
are separated by commas, "" for all. A process for each would take most of its time to start.
"""

from __future__ import annotations

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from integration.operator.process import SYSTEM
from rochallor_operator.cluster.cache import Cache
from rochallor_operator.cluster.canary import Canary
from rochallor_operator.cluster.kube import Kube
from rochallor_operator.errors import WatchError
from rochallor_operator.names import Release
from rochallor_operator.reconcile import Reconciler
from rochallor_operator.runtime import logs
from rochallor_operator.runtime.queue import WorkQueue
from rochallor_operator.watch.triggers import Watch

LIMIT_S = 60
"""For one of them, beside other tests."""
AT_ONCE = 6
"""How many are at work at the same time: dozens that start together are slowed by each other's answers."""


async def main(namespaces: tuple[str, ...], kubeconfigs: list[str]) -> list[str]:
    """The error of each."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2 * AT_ONCE))
    turns = asyncio.Semaphore(AT_ONCE)
    return await asyncio.gather(*[_in_turn(turns, namespaces, kubeconfig) for kubeconfig in kubeconfigs])


async def _in_turn(turns: asyncio.Semaphore, namespaces: tuple[str, ...], kubeconfig: str) -> str:
    async with turns:
        return await _failure(namespaces, kubeconfig)


async def _failure(namespaces: tuple[str, ...], kubeconfig: str) -> str:
    configuration, recent = Configuration(), Cache(monotonic)
    await config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
    kube = Kube(configuration, recent)
    reconciler = Reconciler(kube, Release(f"{SYSTEM}/rochallor-operator", "worker:test", b"key"))
    canary = Canary(kube, SYSTEM, "rochallor-operator")
    watch = Watch(kube, configuration, WorkQueue(reconciler.reconcile), reconciler, recent, canary, SYSTEM)
    try:
        async with asyncio.timeout(LIMIT_S):
            await watch.run(namespaces, everywhere=not namespaces)
    except (WatchError, TimeoutError) as error:
        return str(error)
    finally:
        await kube.close()
    return "it ended without an error"


if __name__ == "__main__":
    logs.configure("INFO")
    _, chosen, *paths = sys.argv
    print(json.dumps(asyncio.run(main(tuple(filter(None, chosen.split(","))), paths))))
