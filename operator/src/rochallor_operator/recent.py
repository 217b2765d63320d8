"""What was lately seen of objects: spares most reads, because an event brings the object along with the news."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from rochallor_operator.names import Manifest

TRUSTED_S: Final = 60.0
"""How long a sight is trusted. It bounds what a lost event can do: afterwards the API server is asked again."""

Name = tuple[str, str, str]
"""Kind, namespace and name."""


@dataclass(frozen=True)
class _Sight:
    version: int
    at: float
    body: bytes | None


class Recent:
    """The newest sight of each object, from watch events and from the answers to our own writes.

    Both may come in any order, so the higher resource version wins (Kubernetes 1.35 documents that they compare as
    integers, and all API servers before have made them so). A deletion is a sight too, but never an answer: what left
    the watch may still exist without the label that is watched. Bodies are kept as JSON text, a tenth of the memory
    that they would need as objects; whoever reads one may change it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sights: OrderedDict[Name, _Sight] = OrderedDict()

    def see(self, manifest: Manifest, kind: str, *, deleted: bool = False) -> None:
        """Note an object as an event or an answer shows it."""
        metadata = manifest["metadata"]
        name = (kind, metadata["namespace"], metadata["name"])
        version, now = int(metadata["resourceVersion"]), self._clock()
        known = self._sights.get(name)
        if known is None or version >= known.version:
            body = None if deleted else json.dumps(manifest).encode()
            self._sights[name] = _Sight(version, now, body)
            self._sights.move_to_end(name)
        self._drop_untrusted(now)

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """The object, or None when the API server has to be asked."""
        sight = self._sights.get((kind, namespace, name))
        if sight is None or sight.body is None or sight.at + TRUSTED_S <= self._clock():
            return None
        manifest: Manifest = json.loads(sight.body)
        return manifest

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Ask the API server next time."""
        self._sights.pop((kind, namespace, name), None)

    def clear(self) -> None:
        """Forget everything: events have been missed."""
        self._sights.clear()

    def _drop_untrusted(self, now: float) -> None:
        while self._sights:
            oldest = next(iter(self._sights))
            if self._sights[oldest].at + TRUSTED_S > now:
                return
            del self._sights[oldest]
