"""What the Secrets and ConfigMaps in use hold, as one hash, and which workers use which of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.digest import digest
from rochallor_operator.errors import DegradedError
from rochallor_operator.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rochallor_operator.desired.references import Reference
    from rochallor_operator.kube import Kube
    from rochallor_operator.names import Key, Manifest

_NOT_FOUND: Final = {"Secret": Reason.SECRET_NOT_FOUND, "ConfigMap": Reason.CONFIG_MAP_NOT_FOUND}


class Users:
    """Whose pods use a Secret or ConfigMap."""

    def __init__(self) -> None:
        self._sources: dict[Key, frozenset[tuple[str, str]]] = {}
        self._users: defaultdict[tuple[str, str, str], set[Key]] = defaultdict(set)

    def note(self, user: Key, uses: Iterable[Reference]) -> None:
        """Replace what is known of a resource."""
        self.forget(user)
        self._sources[user] = frozenset((use.kind, use.name) for use in uses)
        for kind, name in self._sources[user]:
            self._users[kind, user.namespace, name].add(user)

    def forget(self, user: Key) -> None:
        """Drop a resource that is gone."""
        for kind, name in self._sources.pop(user, ()):
            source = (kind, user.namespace, name)
            self._users[source].discard(user)
            if not self._users[source]:
                del self._users[source]

    def of(self, kind: str, namespace: str, name: str) -> list[Key]:
        """The resources to look at when this object has changed."""
        return sorted(self._users.get((kind, namespace, name), ()))


async def config_hash(kube: Kube, namespace: str, uses: Iterable[Reference]) -> str | None:
    """Hash of the content of everything in use; None when nothing is.

    The hash is to be seen on the pods. So that nobody can find a weak password by trying, a Secret's uid is hashed too,
    which is random and known only to those who may read the Secret itself: one that is made anew rolls the pods.
    Raises DegradedError when an object or a key that isn't optional is missing.
    """
    contents: dict[str, Any] = {}
    for use in uses:
        source = f"{use.kind}/{use.name}"
        if source not in contents:
            live = await kube.get(use.kind, namespace, use.name)
            contents[source] = None if live is None else _content(live, use.kind)
        _check(use, contents[source])
    return digest(contents) if contents else None


def _content(live: Manifest, kind: str) -> Manifest:
    salt = {"uid": live["metadata"]["uid"]} if kind == "Secret" else {}
    return {part: live.get(part) or {} for part in ("data", "binaryData")} | salt


def _check(use: Reference, content: Manifest | None) -> None:
    if use.optional:
        return
    if content is None:
        key = "" if use.key is None else f" with the key {use.key!r}"
        raise DegradedError(_NOT_FOUND[use.kind], f"{use.kind} {use.name!r}{key} does not exist")
    keys = sorted([*content["data"], *content["binaryData"]])
    if use.key is not None and use.key not in keys:
        raise DegradedError(
            _NOT_FOUND[use.kind],
            f"{use.kind} {use.name!r} has no key {use.key!r}; it has {', '.join(keys) or 'none'}",
        )
