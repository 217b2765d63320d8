"""All watches: every event only notes what it shows and puts a key into the work queue.

kopf watches resources and their children. It writes nothing to the resources: no annotation, no finalizer. The listing
with which each watch starts is an event per object, so nothing is lost while the operator doesn't run. When the API
server can't continue a watch (410 Gone), kopf lists again without saying so: objects deleted meanwhile have no event.
kopf would read all Secrets and ConfigMaps whole, so sources.py watches those.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.errors import KubernetesError, WatchError
from rochallor_operator.names import (
    CHILDREN,
    CLUSTER_CONNECTION,
    CONNECTION,
    CONNECTIONS,
    FOREIGN,
    KIND,
    MANAGED_BY_LABEL,
    MANAGER,
    Key,
    Manifest,
    ObjectRef,
    worker_names,
)
from rochallor_operator.watch import kopfwatch
from rochallor_operator.watch.delivery import DeliveryCheck
from rochallor_operator.watch.sources import SILENCE_S, SourceWatch

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

    from rochallor_operator.cluster.cache import Cache
    from rochallor_operator.cluster.canary import Canary
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.reconcile import Reconciler
    from rochallor_operator.runtime.queue import WorkQueue

log = logging.getLogger(__name__)

SOURCES: Final = ("ConfigMap", "Secret")
WATCHED: Final = (KIND, *CONNECTIONS, *CHILDREN, *FOREIGN, *SOURCES, "Namespace")


@dataclass(frozen=True)
class Watch:
    """The watch over everything that concerns the operator, and where its events go."""

    kube: Kube
    configuration: Configuration
    queue: WorkQueue[Key]
    reconciler: Reconciler
    cache: Cache
    canary: Canary
    own_namespace: str
    source_kinds: tuple[str, ...] = SOURCES
    """The kinds whose metadata is watched. A change of another source is noticed by the next reconcile."""
    listed: defaultdict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    """The uids in the last listing so far, by kind and namespace; "" when all namespaces are watched at once."""
    watched: set[str] = field(default_factory=set)
    """The kinds that kopf watches."""
    sources: list[SourceWatch] = field(default_factory=list)
    delivery: DeliveryCheck = field(default_factory=DeliveryCheck)

    async def run(self, namespaces: tuple[str, ...], *, everywhere: bool) -> None:
        """Watch these namespaces until cancelled. Raises WatchError when kopf gives up.

        kopf has a thread and a loop of its own; its events are handled in the caller's loop.
        """
        self.cache.clear()
        self.listed.clear()
        self.reconciler.served = None if everywhere else frozenset(namespaces)
        self.reconciler.restart_watch()
        self._reconcile_all()  # resources that were deleted, or are no longer served, have no event
        self.delivery.clear()
        try:
            others = [kind for kind in FOREIGN if kind not in self.reconciler.policy.left_out]
            others += CONNECTIONS if everywhere else [CONNECTION]
            kinds = (KIND, *CHILDREN, *[kind for kind in others if await self.kube.serves(kind)])
        except KubernetesError as error:
            raise WatchError(f"watching failed: {error}") from error
        self.watched.clear()
        self.watched.update(kinds)
        self.sources[:] = self._source_watches(namespaces, everywhere=everywhere)
        stop = threading.Event()
        loop = asyncio.get_running_loop()

        def on_event(kind: str, event: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(self.received, kind, event["type"], event["object"])

        watches = [asyncio.ensure_future(source.run()) for source in self.sources]
        if everywhere or namespaces:
            registry = kopfwatch.registry(kinds, on_event, self.configuration)
            watches.append(asyncio.ensure_future(asyncio.to_thread(kopfwatch.watch, registry, namespaces, stop)))
        try:
            done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
            for watch in done:
                watch.result()
        except WatchError:
            raise
        except Exception as error:  # kopf may raise anything
            raise WatchError(f"watching failed: {kopfwatch.sentence(error)}") from error
        finally:
            stop.set()
            for watch in watches[: len(self.sources)]:  # kopf's thread ends by itself
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    def _source_watches(self, namespaces: tuple[str, ...], *, everywhere: bool) -> list[SourceWatch]:
        scopes = [("Namespace", "")] if CLUSTER_CONNECTION in self.watched else []  # their labels
        scopes += [
            (kind, namespace) for namespace in ([""] if everywhere else namespaces) for kind in self.source_kinds
        ]
        if not everywhere and self.own_namespace not in namespaces:  # only for the canary
            scopes.append(("ConfigMap", self.own_namespace))
        return [SourceWatch(self.kube, *scope, self.source_changed, self.sources_restarted) for scope in scopes]

    def outdated(self) -> bool:
        """Whether the watch should be restarted: it has failed for a kind, or there are children of a kind that the
        cluster did not serve when it started."""
        failed = self.delivery.overdue()
        if failed is not None:
            log.warning("a watch has missed a change, restarting all watches", extra={"kind": failed})
        return failed is not None or not self.reconciler.kinds_in_use <= self.watched | {*SOURCES}

    def silence(self, kind: str) -> float:
        """Seconds for which the watch of a kind has been silent: see the metric WATCH_SILENCE."""
        return max([self.delivery.silence(kind), *[one.silence() for one in self.sources if one.kind == kind]])

    def problem(self) -> str | None:
        """Why the operator should be restarted, or None."""
        silent = next((kind for kind in SOURCES if self.silence(kind) > SILENCE_S), None)
        return silent and f"the watch of {silent}s has delivered nothing for {self.silence(silent):.0f} s"

    def on_answer(self, kind: str, live: Manifest) -> None:
        """Note an object from an answer of the API server: if it is watched, the watch must deliver its version."""
        chosen = live["metadata"].get("labels", {}).get(MANAGED_BY_LABEL) == MANAGER
        if kind in self.watched and (chosen or kind in {KIND, *CONNECTIONS}):
            self.delivery.expect(self._scope(kind, live["metadata"].get("namespace", "")), live)

    def source_changed(self, kind: str, namespace: str, name: str, version: int) -> None:
        """Queue the users of a Secret or ConfigMap that has changed."""
        self.cache.forget(kind, namespace, name)  # an answer to a write of ours; the event has no content
        if kind == "ConfigMap":
            self.canary.received(namespace, name, version)
        self._reconcile_users(ObjectRef(kind, namespace, name))

    def sources_restarted(self, kind: str, namespace: str) -> None:
        """Queue all users of a kind in a namespace, "" for all, because changes may have been missed."""
        for key in self.reconciler.users_of_any(kind):
            if namespace in {"", key.namespace}:
                self.queue.add(key)

    def received(self, kind: str, event: str | None, live: Manifest) -> None:
        """Handle an event; kopf's type for an object in a listing is None."""
        namespace, name = live["metadata"].get("namespace", ""), live["metadata"]["name"]
        deleted = event == "DELETED"
        if event is None:
            self._note_listing(kind, namespace, live["metadata"]["uid"])
        self.delivery.delivered(self._scope(kind, namespace), live)
        self.cache.put(live, kind, deleted=deleted)
        if kind in CONNECTIONS:
            ref = ObjectRef(kind, namespace, name)
            if self.reconciler.connections.on_event(ref, live, deleted=deleted):
                self._reconcile_users(ref)
            return
        # A child is identified by its name, because its labels and owner can be edited.
        if kind == KIND or self.reconciler.on_child_event(kind, live, deleted=deleted):
            for worker in worker_names(kind, name):
                self.queue.add(Key(namespace, worker))

    def _note_listing(self, kind: str, namespace: str, uid: str) -> None:
        """A second sight of an object means a new listing: any known object may be deleted, so reconcile everything."""
        listed = self.listed[self._scope(kind, namespace)]
        if uid in listed:
            listed.clear()
            self.cache.clear()
            self._reconcile_all()
        listed.add(uid)

    def _scope(self, kind: str, namespace: str) -> tuple[str, str]:
        """The scope of the watch that covers a kind in a namespace."""
        return kind, "" if self.reconciler.served is None else namespace

    def _reconcile_users(self, used: ObjectRef) -> None:
        for key in self.reconciler.users_of(used):
            self.queue.add(key)

    def _reconcile_all(self) -> None:
        for key in self.reconciler.known():
            self.queue.add(key)
