"""Applies and removes a worker's objects: only our own, and only when that changes something."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.drift import claimed
from rochallor_operator.errors import DegradedError, KubernetesError
from rochallor_operator.names import AUTOSCALERS, MANAGED_BY_LABEL, MANAGER, WORKER_LABEL, Key, Manifest, worker_names
from rochallor_operator.observe import autoscaler_problem
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.spec.worker import Worker

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
    This memory only saves requests; after a restart each object is applied once, which changes nothing in the cluster.
    An object is looked up for removal only if an apply or an event has shown it. None is missed: the listing with which
    each watch starts is an event for every object.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._applied: defaultdict[Key, dict[tuple[str, str], tuple[str, str]]] = defaultdict(dict)
        self._present: defaultdict[Key, set[tuple[str, str]]] = defaultdict(set)
        self._last_event: dict[tuple[str, Key], str] = {}
        """Of each autoscaler, a hash of everything that mattered in its last event."""
        self.applied_kinds: Final[set[str]] = set()

    def forget(self, key: Key) -> None:
        """Drop what is remembered about the children of a deleted worker."""
        self._applied.pop(key, None)
        self._present.pop(key, None)

    def expect(self, key: Key, kind: str) -> None:
        """Note that a worker has an object of a kind, before any event has shown it."""
        self._present[key].add((kind, key.name))

    def on_event(self, kind: str, live: Manifest, *, deleted: bool) -> bool:
        """Note an event of a child; returns whether its worker should be reconciled."""
        metadata = live["metadata"]
        keys = [Key(metadata["namespace"], name) for name in worker_names(kind, metadata["name"])]
        for key in keys:
            if not deleted:
                self._present[key].add((kind, metadata["name"]))
            elif key in self._present:
                self._present[key].discard((kind, metadata["name"]))
                if not self._present[key]:
                    del self._present[key]
        key = keys[0]
        if deleted:
            self._last_event.pop((kind, key), None)
            return True
        if kind not in AUTOSCALERS:
            return True
        # An autoscaler writes its status every few seconds; of that, only its problem matters.
        problem = autoscaler_problem(live)
        news = digest(
            [_state(live, live), "deletionTimestamp" in metadata, problem and [problem.reason, problem.message]]
        )
        before, self._last_event[kind, key] = self._last_event.get((kind, key)), news
        return news != before

    async def ensure(self, worker: Worker, wish: Manifest) -> Manifest:
        """The same as put, with the object as it is now."""
        live = await self._kube.get(wish["kind"], worker.namespace, wish["metadata"]["name"])
        return await self.put(worker, wish, live)

    async def put(self, worker: Worker, wish: Manifest, live: Manifest | None) -> Manifest:
        """Bring one object into place and return it as it is then.

        Raises DegradedError when it belongs to someone else, or when what others wrote into it can't be reverted, and
        KubernetesError when the API server refuses it.
        """
        kind, name = wish["kind"], wish["metadata"]["name"]
        if live is not None and not is_ours(live, worker.name, worker.uid):
            raise name_conflict(kind, name)
        if live is not None and "deletionTimestamp" in live["metadata"]:
            return live  # recreated once it is deleted
        key = Key(worker.namespace, worker.name)
        wished = digest(wish)
        before = None if live is None else _state(live, wish)
        if live is not None and self._applied[key].get((kind, name)) == (wished, before):
            return live
        try:
            applied = await self._kube.apply(wish)
        except KubernetesError as error:
            if live is None or error.status != 422 or not await self._kube.would_accept(wish):
                raise
            applied = await self._take_back(key, wish, live)
        self.applied_kinds.add(kind)
        after = _state(applied, wish)
        if after != before:
            log.info("created" if before is None else "updated", extra=log_keys(key, kind, name))
        self._applied[key][kind, name] = (wished, after)
        self._present[key].add((kind, name))
        return applied

    async def _take_back(self, key: Key, wish: Manifest, live: Manifest) -> Manifest:
        """Apply a wish that is refused only because of what others wrote into the object."""
        kind, name = wish["kind"], wish["metadata"]["name"]
        try:
            await self._kube.set_managed_fields(live, kind, claimed(live, wish))
            applied = await self._kube.apply(wish)
        except KubernetesError as error:
            if error.status != 422:
                raise
            sentence = f"{kind} {name!r} has a change by someone else that can't be reverted; delete it: {error}"
            raise DegradedError(Reason.DRIFTED, sentence) from error
        log.warning("reverted a change that excluded our own fields", extra=log_keys(key, kind, name))
        return applied

    async def remove(self, worker: Worker, kind: str, name: str | None = None) -> None:
        """Remove the worker's object of an optional kind, if there is one and it is ours; mostly it has its name."""
        key, name = Key(worker.namespace, worker.name), name or worker.name
        if (kind, name) not in self._present.get(key, ()):
            return
        live = await self._kube.get(kind, worker.namespace, name)
        if live is not None and is_ours(live, worker.name, worker.uid) and "deletionTimestamp" not in live["metadata"]:
            await self._kube.delete(kind, worker.namespace, name, live["metadata"]["uid"])
            log.info("removed", extra=log_keys(key, kind, name))
        self._applied[key].pop((kind, name), None)
        self._present[key].discard((kind, name))


def name_conflict(kind: str, name: str) -> DegradedError:
    """The error for an object that has the name of a child and isn't ours."""
    sentence = f"{kind} {name!r} exists and is not part of this resource: delete it or rename the resource"
    return DegradedError(Reason.NAME_CONFLICT, sentence)


def log_keys(key: Key, kind: str, name: str) -> dict[str, str]:
    """What a log line about an object of a worker names."""
    return {"resource": str(key), "child": f"{kind} {key.namespace}/{name}"}


def _state(live: Manifest, wish: Manifest) -> str:
    """Hash of everything in an object that an apply of the wish could change. Fields that the wish doesn't have are
    left out, such as replicas under an autoscaler."""
    metadata, spec = live["metadata"], live.get("spec", {})
    annotations = {name: metadata.get("annotations", {}).get(name) for name in wish["metadata"].get("annotations", {})}
    rest = {part: live.get(part) for part in wish if part not in {"apiVersion", "kind", "metadata", "spec", "status"}}
    named = {field: spec.get(field) for field in wish.get("spec", {})}
    return digest([metadata["uid"], metadata.get("labels"), annotations, metadata.get("ownerReferences"), named, rest])


def digest(value: Any) -> str:
    """Short hash of a JSON value, for the operator's own memory alone: its input could be guessed."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
