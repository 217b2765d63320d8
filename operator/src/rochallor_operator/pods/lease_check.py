"""Warns of handlers that may outlive their leases, when the workers have found that the engine can't renew leases.

For resources whose spec allows such handlers, a few ready pods are asked. A pod's warning stands until the pod
withdraws it, or is deleted and no other repeats it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from rochallor_operator.pods.warnings import Warnings
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

ASKED: Final = 3
"""The most pods that one check asks."""


class LeaseChecks(Warnings):
    """The warning is that of any pod; its sentence names the pod."""

    reason = Reason.LEASE_NOT_RENEWABLE

    async def _judge(self, ready: list[Manifest], before: str | None) -> str | None:
        """The warning of one of the ready pods. Without any answer, the warning from before stands."""
        random.shuffle(ready)
        ready.sort(key=lambda pod: not _is_by(pod, before))
        warning = before
        for pod in ready[:ASKED]:
            sentence = await self._ask(pod)
            if sentence:
                return _naming(pod) + sentence
            if sentence == "":
                warning = None
            elif _is_by(pod, before):
                break
        return warning


def _naming(pod: Manifest) -> str:
    return f"pod {pod['metadata']['name']}: "


def _is_by(pod: Manifest, warning: str | None) -> bool:
    return warning is not None and warning.startswith(_naming(pod))
