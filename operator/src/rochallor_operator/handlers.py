"""What kopf watches: every event only notes what it shows and puts a key into the work queue.

kopf keeps nothing on the resources this way: no annotation, no finalizer. The listing with which each watch starts is
an event per object, so nothing is lost while the operator is away. When the API server no longer knows from where a
watch should go on (410 Gone), kopf lists anew and doesn't say so: what was deleted meanwhile has no event.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import kopf

from rochallor_operator.errors import KubernetesError, WatchError
from rochallor_operator.names import (
    APIS,
    CHILDREN,
    FOREIGN,
    KIND,
    MANAGED_BY_LABEL,
    MANAGER,
    Key,
    Manifest,
    worker_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernetes.aio.client import Configuration

    from rochallor_operator.canary import Canary
    from rochallor_operator.kube import Kube
    from rochallor_operator.queue import WorkQueue
    from rochallor_operator.recent import Recent
    from rochallor_operator.reconcile import Reconciler

ROOT_CA: Final = "kube-root-ca.crt"
"""Kubernetes keeps a ConfigMap of this name in every namespace; nobody's handlers are in it."""
HELM_RELEASE: Final = "helm.sh/release.v1"
"""The type of Helm's own Secrets: many, big, and nobody's pods use them. (kopf can't watch only objects' metadata.)"""
SOURCES: Final = ("ConfigMap", "Secret")
STOP_S: Final = 15.0
"""How long kopf may take to stop before it is cancelled, and its reason lost; it waits 5 s itself for what hangs."""


@dataclass(frozen=True)
class Watch:
    """One watch over everything that concerns us, and where its news go."""

    kube: Kube
    configuration: Configuration
    queue: WorkQueue[Key]
    reconciler: Reconciler
    recent: Recent
    canary: Canary
    own_namespace: str
    listed: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """Of each kind and namespace, "" when all are watched at once, the uids in its last listing so far."""
    watched: set[str] = field(default_factory=set)

    async def run(self, namespaces: tuple[str, ...], *, everywhere: bool) -> None:
        """Watch these namespaces until cancelled. Raises WatchError when kopf gives up.

        kopf has a thread and a loop of its own: when it stops, it cancels every task of its loop that is younger than
        itself, and it takes the signals of a main thread. The news are handled in the caller's loop.
        """
        self.recent.clear()
        self.listed.clear()
        self.reconciler.served = None if everywhere else frozenset(namespaces)
        self.reconciler.applied_kinds.clear()
        self._look_at_everything()  # what is gone, or no longer served, has no event
        try:
            kinds = (KIND, *CHILDREN, *[kind for kind in FOREIGN if await self.kube.serves(kind)], *SOURCES)
        except KubernetesError as error:
            raise WatchError(f"watching failed: {error}") from error
        self.watched.clear()
        self.watched.update(kinds)
        loop = asyncio.get_running_loop()

        def tell(kind: str, event: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(self.heard, kind, event["type"], event["object"])

        stop = threading.Event()

        def start(kinds: tuple[str, ...], where: tuple[str, ...]) -> asyncio.Future[None]:
            registry = _registry(kinds, tell, self.configuration)
            return asyncio.ensure_future(asyncio.to_thread(_watch, registry, where, stop))

        threads = [start(kinds, namespaces)] if everywhere or namespaces else []
        if not everywhere and self.own_namespace not in namespaces:  # the canary is there; nothing else is watched
            threads.append(start(("ConfigMap",), (self.own_namespace,)))
        try:
            await asyncio.shield(asyncio.gather(*threads))
        except Exception as error:  # kopf ends with whatever stopped it
            raise WatchError(f"watching failed: {_sentence(error)}") from error
        finally:
            stop.set()
            await asyncio.gather(*threads, return_exceptions=True)

    def outdated(self) -> bool:
        """Whether children of a kind have come that the cluster didn't know when the present watch began."""
        return not self.reconciler.applied_kinds <= self.watched

    def heard(self, kind: str, event: str | None, live: Manifest) -> None:
        """Take in an event; None is kopf's word for an object in a listing."""
        namespace, name = live["metadata"]["namespace"], live["metadata"]["name"]
        gone = event == "DELETED"
        if event is None:
            self._note_listing(kind, namespace, live["metadata"]["uid"])
        if kind == "ConfigMap":
            self.canary.saw(namespace, name, int(live["metadata"]["resourceVersion"]))
        if kind in SOURCES:
            for key in self.reconciler.users_of(kind, namespace, name):
                self.queue.add(key)
            return
        self.recent.see(live, kind, deleted=gone)
        # A child is told by its name, which can't be edited away as its labels and owner can.
        if kind == KIND or self.reconciler.hear(kind, live, gone=gone):
            self.queue.add(Key(namespace, worker_name(kind, name)))

    def _note_listing(self, kind: str, namespace: str, uid: str) -> None:
        """An object that is listed again is in a new listing: whatever is known may be gone, so look at everything."""
        listed = self.listed[kind, "" if self.reconciler.served is None else namespace]
        if uid in listed:
            listed.clear()
            self.recent.clear()
            self._look_at_everything()
        listed.add(uid)

    def _look_at_everything(self) -> None:
        for key in self.reconciler.known():
            self.queue.add(key)


def _sentence(error: Exception) -> str:
    """kopf's errors have the API server's sentence first, and its whole answer behind it."""
    first = error.args[0] if error.args else ""
    if not isinstance(first, str):
        first = str(error) if isinstance(error, OSError) else ""
    return first or type(error).__name__


def _watch(registry: kopf.OperatorRegistry, namespaces: tuple[str, ...], stop: threading.Event) -> None:
    @kopf.on.cleanup(registry=registry)
    async def end_watchers(**_: Any) -> None:
        # When one of its watchers fails, kopf 1.45 leaves the others alone for 5 s, and then cancels them together with
        # the tasks that tell them of a pause: a watcher that takes its cancellation for a pause goes on, and kopf waits
        # for it without end.
        for task in asyncio.all_tasks():
            if task.get_name().startswith("watcher for "):
                task.cancel()
        stop.set()  # kopf waits for it in a thread, too
        # from here on, what is left of kopf's generators and tasks may only complain of the end
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
            stop.set()  # it is waited for in threads

    asyncio.run(until_stopped())


def _registry(
    kinds: tuple[str, ...], tell: Callable[[str, dict[str, Any]], None], configuration: Configuration
) -> kopf.OperatorRegistry:
    """One handler for each kind, which tells of every event."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await _connection(configuration)

    def watch(kind: str) -> None:
        @kopf.on.event(*APIS[kind], id=kind, registry=handlers)
        async def heard(event: Any, **_: Any) -> None:
            tell(kind, event)

    for kind in kinds:
        watch(kind)
    return handlers


def kopf_settings() -> kopf.OperatorSettings:
    """kopf's settings: bounded waits, nothing written to the cluster, and only what concerns us watched."""
    values = kopf.OperatorSettings()
    values.posting.enabled = False
    values.scanning.disabled = True  # the CRD is there before kopf starts; no right to list CRDs is needed
    values.watching.server_timeout = 120
    values.watching.client_timeout = 150
    values.watching.connect_timeout = 5
    values.networking.request_timeout = 10
    values.networking.error_backoffs = (0.5, 1, 2, 4)  # then it begins anew with a listing, see watching.py
    values.process.ultimate_exiting_timeout = None  # a time limit on our own stop is the kubelet's part
    values.watching.chunk_size = 500  # a cluster's ConfigMaps at once would need much memory
    for kind in (*CHILDREN, *FOREIGN):
        values.watching.label_selectors[APIS[kind]] = f"{MANAGED_BY_LABEL}={MANAGER}"
    values.watching.field_selectors["", "v1", "configmaps"] = f"metadata.name!={ROOT_CA}"
    values.watching.field_selectors["", "v1", "secrets"] = f"type!={HELM_RELEASE}"
    return values


async def _connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """The same credentials for kopf. It asks again when the API server no longer takes them."""
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
