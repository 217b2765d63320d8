"""Applying and removing a worker's objects: only our own ones, and only when that changes something."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from rochallor_operator.digest import digest
from rochallor_operator.errors import DegradedError
from rochallor_operator.names import AUTOSCALERS, MANAGED_BY_LABEL, MANAGER, WORKER_LABEL, Key, Manifest, worker_name
from rochallor_operator.observe import autoscaler_trouble
from rochallor_operator.reasons import Reason

if TYPE_CHECKING:
    from rochallor_operator.kube import Kube
    from rochallor_operator.spec import Worker

log = logging.getLogger(__name__)


def is_ours(live: Manifest, worker: str, uid: str) -> bool:
    """Whether a live object is the worker's: controlled by it, or left behind by the operator without an owner."""
    metadata = live["metadata"]
    for reference in metadata.get("ownerReferences", []):
        if reference.get("controller"):
            return bool(reference["uid"] == uid)
    labels = metadata.get("labels", {})
    return bool(labels.get(MANAGED_BY_LABEL) == MANAGER and labels.get(WORKER_LABEL) == worker)


class Children:
    """Applies objects and remembers what they looked like afterwards.

    As long as neither the wish nor the live object has changed since, nothing is sent: a steady state writes nothing.
    The memory is only a saving; after a restart each object is applied once, which changes nothing in the cluster.
    An object is looked for to be removed only when an apply or an event has told of it. Nothing is missed: the listing
    with which each watch starts is an event for every object.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._applied: defaultdict[Key, dict[str, tuple[str, str]]] = defaultdict(dict)
        self._present: defaultdict[Key, set[str]] = defaultdict(set)
        self._heard: dict[tuple[str, Key], str] = {}
        self.applied_kinds: Final[set[str]] = set()

    def forget(self, key: Key) -> None:
        """Drop what is remembered of the children of a worker that is gone."""
        self._applied.pop(key, None)
        self._present.pop(key, None)

    def expect(self, key: Key, kind: str) -> None:
        """Note that a worker has an object of a kind, before any event has told of it."""
        self._present[key].add(kind)

    def hear(self, kind: str, live: Manifest, *, gone: bool) -> bool:
        """Take in an event of a child; whether it says something that matters."""
        metadata = live["metadata"]
        key = Key(metadata["namespace"], worker_name(kind, metadata["name"]))
        if gone:
            self._heard.pop((kind, key), None)
            self._present[key].discard(kind)
            if not self._present[key]:
                del self._present[key]
            return True
        self._present[key].add(kind)
        if kind not in AUTOSCALERS:
            return True
        # An autoscaler writes into its status every few seconds; of that, only its trouble matters.
        trouble = autoscaler_trouble(live)
        news = digest(
            [_state(live, live), "deletionTimestamp" in metadata, trouble and [trouble.reason, trouble.message]]
        )
        before, self._heard[kind, key] = self._heard.get((kind, key)), news
        return news != before

    async def put(self, worker: Worker, wish: Manifest, live: Manifest | None) -> Manifest:
        """Bring one object into place and return it as it is then.

        Raises DegradedError when it belongs to someone else, KubernetesError when the API server refuses it.
        """
        kind, name = wish["kind"], wish["metadata"]["name"]
        if live is not None and not is_ours(live, worker.name, worker.uid):
            raise DegradedError(
                Reason.NAME_CONFLICT,
                f"{kind} {name!r} exists and is not part of this resource: delete it or rename the resource",
            )
        if live is not None and "deletionTimestamp" in live["metadata"]:
            return live  # made anew when it is gone
        key = Key(worker.namespace, worker.name)
        wished = digest(wish)
        before = None if live is None else _state(live, wish)
        if live is not None and self._applied[key].get(kind) == (wished, before):
            return live
        applied = await self._kube.apply(wish)
        self.applied_kinds.add(kind)
        after = _state(applied, wish)
        if after != before:
            log.info("created" if before is None else "updated", extra={"child": f"{kind} {worker.namespace}/{name}"})
        self._applied[key][kind] = (wished, after)
        self._present[key].add(kind)
        return applied

    async def remove(self, worker: Worker, kind: str) -> None:
        """Remove the worker's object of an optional kind, when there is one and it is ours."""
        key = Key(worker.namespace, worker.name)
        if kind not in self._present.get(key, ()):
            return
        live = await self._kube.get(kind, worker.namespace, worker.name)
        if live is not None and is_ours(live, worker.name, worker.uid) and "deletionTimestamp" not in live["metadata"]:
            await self._kube.delete(kind, worker.namespace, worker.name, live["metadata"]["uid"])
            log.info("removed", extra={"child": f"{kind} {key}"})
        self._applied[key].pop(kind, None)
        self._present[key].discard(kind)


def _state(live: Manifest, wish: Manifest) -> str:
    """Hash of everything in an object that an apply of the wish could put right: what the wish says nothing of is left
    out, such as replicas under an autoscaler."""
    metadata = live["metadata"]
    spec = live.get("spec", {})
    rest = {part: live.get(part) for part in wish if part not in {"apiVersion", "kind", "metadata", "spec", "status"}}
    named = {field: spec.get(field) for field in wish.get("spec", {})}
    return digest([metadata["uid"], metadata.get("labels"), metadata.get("ownerReferences"), named, rest])
