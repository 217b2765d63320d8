"""Warns of job types that no pod takes any more, because all their runs fail: their breaker is open in every pod.

While pods disagree, what the type needs may work from some of them: the metrics show those where it doesn't.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from rochallor_operator.pods.warnings import Warnings
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

ASKED: Final = 50
"""The most pods that one check asks; mostly the first one has no warning, and is the only one."""


class BreakerChecks(Warnings):
    """The warning is that of all pods."""

    reason = Reason.BREAKER_OPEN

    async def _judge(self, ready: list[Manifest], before: str | None) -> str | None:
        """The sentence of one of the ready pods, if each has one. What a pod that doesn't answer has is not known: the
        warning from before stands."""
        random.shuffle(ready)
        sentences: list[str] = []
        for pod in ready[:ASKED]:
            sentence = await self._ask(pod)
            if not sentence:
                return before if sentence is None else None
            sentences.append(sentence)
        # Pods may word it differently, and each wording would be a write.
        return before if before in sentences else next(iter(sentences), None)
