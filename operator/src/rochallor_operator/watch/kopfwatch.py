"""Watches resources and their children with kopf, in a thread with an event loop of its own.

When kopf stops, it cancels every younger task of its loop, and in a main thread it installs its own signal handlers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import kopf

from rochallor_operator.names import APIS, CHILDREN, FOREIGN, MANAGED_BY_LABEL, MANAGER

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from kubernetes.aio.client import Configuration

STOP_S: Final = 15.0
"""How long kopf may take to stop before it is cancelled and its error lost; it waits 5 s itself for hanging tasks."""


def sentence(error: Exception) -> str:
    """The message of an error of kopf, without the API server's whole answer that follows it."""
    first = error.args[0] if error.args else ""
    if not isinstance(first, str):
        first = str(error) if isinstance(error, OSError) else ""
    return first or type(error).__name__


def watch(registry: kopf.OperatorRegistry, namespaces: tuple[str, ...], stop: threading.Event) -> None:
    """Watch until stopped. Raises any error that ends kopf, and TimeoutError when it doesn't stop."""

    @kopf.on.cleanup(registry=registry)
    async def end_watchers(**_: Any) -> None:
        # When one of its watchers fails, kopf 1.45 leaves the others running for 5 s, and then cancels them together
        # with the tasks that signal a pause: a watcher that mistakes its cancellation for a pause goes on, and kopf
        # waits for it forever.
        for task in asyncio.all_tasks():
            if task.get_name().startswith("watcher for "):
                task.cancel()
        stop.set()  # kopf waits for it in a thread
        # from here on, kopf's remaining generators and tasks can only raise errors about the shutdown
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    async def until_stopped() -> None:
        operator = kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
        running = asyncio.ensure_future(operator)
        try:
            await asyncio.wait(
                {running, asyncio.ensure_future(asyncio.to_thread(stop.wait))}, return_when=asyncio.FIRST_COMPLETED
            )
            await asyncio.wait_for(running, STOP_S)
        except TimeoutError as error:
            raise TimeoutError(f"kopf did not stop within {STOP_S:g} s") from error
        finally:
            stop.set()  # threads wait for it

    asyncio.run(until_stopped())


def registry(
    kinds: tuple[str, ...], on_event: Callable[[str, dict[str, Any]], None], configuration: Configuration
) -> kopf.OperatorRegistry:
    """One handler for each kind, which passes every event to on_event."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await _connection(configuration)

    def handle(kind: str) -> None:
        @kopf.on.event(*APIS[kind], id=kind, registry=handlers)
        async def received(event: Any, **_: Any) -> None:
            on_event(kind, event)

    for kind in kinds:
        handle(kind)
    return handlers


def kopf_settings() -> kopf.OperatorSettings:
    """kopf's settings: bounded waits, no writes to the cluster, and watches of our own objects only."""
    values = kopf.OperatorSettings()
    values.posting.enabled = False
    values.scanning.disabled = True  # the CRD is there before kopf starts; no right to list CRDs is needed
    values.watching.server_timeout = 120
    values.watching.client_timeout = 150
    values.watching.connect_timeout = 5
    values.networking.request_timeout = 10
    values.networking.error_backoffs = (0.5, 1, 2, 4)  # then watching starts again with a listing, see supervisor.py
    values.process.ultimate_exiting_timeout = None  # the kubelet limits the time of our own stop
    values.watching.chunk_size = 100  # everything at once would need much memory
    for kind in (*CHILDREN, *FOREIGN):
        values.watching.label_selectors[APIS[kind]] = f"{MANAGED_BY_LABEL}={MANAGER}"
    return values


async def _connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """The same credentials for kopf, which asks again when the API server no longer accepts them."""
    authorization = await configuration.get_api_key_with_prefix("BearerToken") or ""
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme="Bearer" if authorization else None,
        token=authorization.partition(" ")[2] or None,
    )
