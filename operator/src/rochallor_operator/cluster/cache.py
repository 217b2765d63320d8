"""A cache of recently seen objects. It saves most reads, because each event contains the whole object."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from rochallor_operator.names import Manifest

TTL_S: Final = 60.0
"""How long an entry is used. It limits the effect of a lost event: afterwards the API server is asked again."""

Name = tuple[str, str, str]
"""Kind, namespace and name."""


@dataclass(frozen=True)
class _Entry:
    version: int
    at: float
    body: bytes | None


class Cache:
    """The newest version of each object, from watch events and from the answers to our own writes.

    They may arrive in any order, so the higher resource version wins (Kubernetes 1.35 documents that versions compare
    as integers, and all earlier API servers have made them so). A deletion is an entry too, but never returned: the
    object may only have lost the label that is watched. Bodies are kept as JSON text, which takes a tenth of the memory
    of parsed objects; each reader gets a copy.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: OrderedDict[Name, _Entry] = OrderedDict()

    def put(self, manifest: Manifest, kind: str, *, deleted: bool = False) -> None:
        """Note an object from an event or an answer."""
        metadata = manifest["metadata"]
        name = (kind, metadata.get("namespace", ""), metadata["name"])
        version, now = int(metadata["resourceVersion"]), self._clock()
        known = self._entries.get(name)
        if known is None or version >= known.version:
            body = None if deleted else json.dumps(manifest).encode()
            self._entries[name] = _Entry(version, now, body)
            self._entries.move_to_end(name)
        self._drop_expired(now)

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The object, or None when the API server has to be asked."""
        entry = self._entries.get((kind, namespace, name))
        if entry is None or entry.body is None or entry.at + TTL_S <= self._clock():
            return None
        manifest: Manifest = json.loads(entry.body)
        return manifest

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Drop an object: the API server is asked next time."""
        self._entries.pop((kind, namespace, name), None)

    def clear(self) -> None:
        """Drop everything, because events have been missed."""
        self._entries.clear()

    def _drop_expired(self, now: float) -> None:
        while self._entries:
            oldest = next(iter(self._entries))
            if self._entries[oldest].at + TTL_S > now:
                return
            del self._entries[oldest]
