"""Checks that kopf's watches deliver: every version in an answer of the API server must arrive as an event, too.

A watch can stop without an error, which looks like a cluster without changes. But every object that a reconcile reads
or writes has a resource version. If the watch of its kind delivers neither that version nor a later one, it has failed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

LIMIT_S: Final = 90.0
"""How long after the answer the event may arrive."""

Scope = tuple[str, str]
"""The scope of one watch: a kind and a namespace, which is "" for all."""


class DeliveryCheck:
    """Compares versions in answers with versions in events. (Versions of one kind compare as integers.)"""

    def __init__(self) -> None:
        self._delivered: dict[Scope, int] = {}
        self._due: dict[Scope, tuple[int, float]] = {}

    def expect(self, scope: Scope, live: Manifest) -> None:
        """Note an object from an answer of the API server: the watch must deliver it."""
        version = int(live["metadata"]["resourceVersion"])
        # The oldest missing version counts; later ones must not restart the clock.
        if version > self._delivered.get(scope, 0) and scope not in self._due:
            self._due[scope] = (version, _now())

    def delivered(self, scope: Scope, live: Manifest) -> None:
        """Note an object that the watch has delivered."""
        version = max(self._delivered.get(scope, 0), int(live["metadata"]["resourceVersion"]))
        self._delivered[scope] = version
        if scope in self._due and self._due[scope][0] <= version:
            del self._due[scope]

    def clear(self) -> None:
        """Drop everything: the watches start again."""
        self._delivered.clear()
        self._due.clear()

    def silence(self, kind: str) -> float:
        """Seconds for which the oldest missing event of a kind has been missing; 0 when none is."""
        return max((_now() - since for (of, _), (_, since) in self._due.items() if of == kind), default=0.0)

    def overdue(self) -> str | None:
        """A kind whose watch has failed, or None."""
        return next((kind for kind, _ in self._due if self.silence(kind) > LIMIT_S), None)


def _now() -> float:
    return asyncio.get_running_loop().time()
