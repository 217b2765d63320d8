"""Hashes of the Secrets and ConfigMaps in use, and which workers use which objects."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.desired.deployment import Content
from rochallor_operator.errors import DegradedError
from rochallor_operator.runtime.text import listed
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.desired.references import Reference
    from rochallor_operator.names import Key, Manifest, ObjectRef
    from rochallor_operator.spec.worker import Worker

_NOT_FOUND: Final = {"Secret": Reason.SECRET_NOT_FOUND, "ConfigMap": Reason.CONFIG_MAP_NOT_FOUND}


class Users:
    """Which resources use an object."""

    def __init__(self) -> None:
        self._uses: dict[Key, frozenset[ObjectRef]] = {}
        self._users: defaultdict[ObjectRef, set[Key]] = defaultdict(set)

    def note(self, user: Key, uses: Iterable[ObjectRef]) -> None:
        """Replace what is known about a resource."""
        self.forget(user)
        self._uses[user] = frozenset(uses)
        for used in self._uses[user]:
            self._users[used].add(user)

    def forget(self, user: Key) -> None:
        """Drop a deleted resource."""
        for used in self._uses.pop(user, ()):
            self._users[used].discard(user)
            if not self._users[used]:
                del self._users[used]

    def of(self, used: ObjectRef) -> list[Key]:
        """The resources to reconcile when this object has changed."""
        return sorted(self._users.get(used, ()))

    def of_any(self, kind: str) -> list[Key]:
        """The resources that use any object of a kind."""
        return sorted(user for user, uses in self._uses.items() if any(used.kind == kind for used in uses))


Found = Mapping[tuple[str, str], "Manifest | None"]
"""Live objects by kind and name; None where there is none."""


async def read(kube: Kube, namespace: str, uses: Iterable[Reference]) -> Found:
    """Everything in use. Raises DegradedError when an object or a key that isn't optional is missing."""
    found: dict[tuple[str, str], Manifest | None] = {}
    for use in uses:
        source = (use.kind, use.name)
        if source not in found:
            found[source] = await kube.get(*use.object_in(namespace))
        _check(use, found[source])
    return found


async def text(kube: Kube, namespace: str, secret: Reference) -> str:
    """The text under a key of a Secret, without white space around it. Raises DegradedError when there is none."""
    found = (await read(kube, namespace, [secret]))[secret.kind, secret.name]
    value: str = "" if found is None else found["data"][secret.key]
    return base64.b64decode(value).decode(errors="replace").strip()


def content(key: bytes, worker: Worker, uses: Iterable[Reference], found: Found) -> Content:
    """The version of what was found.

    Its hashes are visible on the pods. The key keeps others from guessing what a Secret holds, and the worker's name in
    the hashes from comparing it with a Secret of their own.
    """
    parts = [[use.kind, use.name, use.key, _part(found[use.kind, use.name], use.key)] for use in uses if use.rolls]
    whose = [worker.namespace, worker.name]
    handlers = worker.spec.handlers.config_map
    code = None if handlers is None else _part(found["ConfigMap", handlers.name], None)
    return Content(
        config=keyed_digest(key, ["config", whose, parts]) if parts else None,
        code=keyed_digest(key, ["code", whose, code]) if handlers is not None else None,
    )


def keyed_digest(key: bytes, value: Any) -> str:
    """Short hash of a JSON value that nobody can compute without the key, so that everybody may see it."""
    return hmac.new(key, json.dumps(value, sort_keys=True).encode(), hashlib.sha256).hexdigest()[:16]


def _part(live: Manifest | None, key: str | None) -> list[Any] | None:
    """The part of an object that counts: all keys or one, as text and as bytes."""
    if live is None:
        return None
    both: list[Manifest] = [live.get("data") or {}, live.get("binaryData") or {}]
    return both if key is None else [entries.get(key) for entries in both]


def _check(use: Reference, live: Manifest | None) -> None:
    if use.optional:
        return
    if live is None:
        key = "" if use.key is None else f" with the key {use.key!r}"
        raise DegradedError(_NOT_FOUND[use.kind], f"{use.kind} {use.name!r}{key} does not exist")
    keys = sorted([*(live.get("data") or {}), *(live.get("binaryData") or {})])
    if use.key is not None and use.key not in keys:
        # Those who may read this resource need not be allowed to read Secrets.
        there = "" if use.kind == "Secret" else f"; it has {listed(keys)}"
        raise DegradedError(_NOT_FOUND[use.kind], f"{use.kind} {use.name!r} has no key {use.key!r}{there}")
