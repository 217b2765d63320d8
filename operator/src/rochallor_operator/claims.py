"""Which of several operators manages a resource.

Two releases that serve the same resources would undo each other's work forever. So the status names the operator that
manages a resource, and any other leaves the resource alone until the first gives no sign of life. The other asks for
one through the status too (`challenge`; the first repeats it as `answer`): that is the one place that both may read and
write, whatever their rights and namespaces are. Clocks of different operators are never compared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import KIND, Key
from rochallor_operator.observe import Problem
from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

log = logging.getLogger(__name__)

ANSWER_S: Final = 180.0
"""About how long to wait for an answer, and how often to ask for one: longer than an operator takes to restart."""
FORGET_S: Final = 2.5 * ANSWER_S
"""Without a new challenge for this long, the other operator counts as removed."""


@dataclass(frozen=True)
class _Challenge:
    """The status at the time a challenge was sent."""

    operator: str
    answer: str


@dataclass(frozen=True)
class _Asked:
    """A challenge by another operator, and when it was first seen."""

    text: str
    at: float


class Claims:
    """Whether each resource is left to another operator. name is the release's, shared by all its replicas."""

    def __init__(self, kube: Kube, name: str, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._name: Final = name
        self._clock = clock
        self._left: dict[Key, _Challenge | None] = {}
        self._won: dict[Key, str] = {}
        """The resources being taken over, and from which operator."""
        self._asked: dict[Key, _Asked] = {}
        self._on_change: Callable[[Key], None] = lambda _: None
        pause = Backoff(first=ANSWER_S, cap=ANSWER_S, jitter=0.1)
        self._queue = WorkQueue(self._check, workers=4, while_unsettled=pause, after_error=pause)

    async def run(self, on_change: Callable[[Key], None]) -> None:
        """Check the resources left to others until cancelled; on_change is called for one that may be taken over."""
        self._on_change = on_change
        await self._queue.run()

    def forget(self, key: Key) -> None:
        """Drop a deleted resource."""
        for known in (self._left, self._won, self._asked):
            known.pop(key, None)

    def yields(self, key: Key, resource: Mapping[str, Any]) -> bool:
        """Whether a resource is left to another operator."""
        operator = _status(resource, "operator")
        if operator in {"", self._name}:
            self._left.pop(key, None)
            self._won.pop(key, None)
            return False
        if self._won.get(key) == operator:
            return False
        if key not in self._left:
            log.warning("left to another operator", extra={"resource": str(key), "operator": operator})
            self._left[key] = None
            self._queue.add(key)
        return True

    def status_fields(self, key: Key, resource: Mapping[str, Any]) -> Manifest:
        """What the status of a resource of ours says about its operator."""
        challenge = self._challenge(key, resource)
        return {"operator": self._name} | ({"answer": challenge} if challenge else {})

    def warning(self, key: Key, resource: Mapping[str, Any]) -> Problem | None:
        """The warning about another operator that would manage a resource of ours."""
        challenge = self._challenge(key, resource)
        if not challenge:
            return None
        sentence = (
            f"the operator {_challenger(challenge)} serves this namespace too, and leaves the resource to the operator"
            f" {self._name}: let only one of them serve it"
        )
        return Problem(Reason.SEVERAL_OPERATORS, sentence)

    async def clear_challenge(self, key: Key, resource: Mapping[str, Any]) -> None:
        """Remove a challenge that no longer needs an answer from the status of a resource of ours."""
        if _status(resource, "challenge") and not self._challenge(key, resource):
            await self._kube.challenge(resource, None)

    def _challenge(self, key: Key, resource: Mapping[str, Any]) -> str:
        """The challenge of another operator that is still there; "" for none."""
        text = _status(resource, "challenge")
        if not text or _challenger(text) == self._name:
            self._asked.pop(key, None)
            return ""
        asked = self._asked.get(key)
        if asked is None or asked.text != text:
            asked = self._asked[key] = _Asked(text, self._clock())
        return text if self._clock() < asked.at + FORGET_S else ""

    async def _check(self, key: Key) -> Result:
        """Ask the operator of a resource for a sign of life, or take the resource over when it gave none."""
        if key not in self._left:
            return Result.SETTLED
        before, self._left[key] = self._left[key], None
        try:
            resource = await self._kube.read(KIND, key.namespace, key.name)
            if resource is None or _status(resource, "operator") in {"", self._name}:
                self._left.pop(key, None)
                self._on_change(key)
                return Result.SETTLED
            now = _Challenge(_status(resource, "operator"), _status(resource, "answer"))
            if now == before:
                log.warning("taking over from another operator", extra={"resource": str(key), "operator": now.operator})
                self._left.pop(key, None)
                self._won[key] = now.operator
                self._on_change(key)
                return Result.SETTLED
            await self._kube.challenge(resource, f"{self._name} {datetime.now(UTC).isoformat(timespec='microseconds')}")
        except KubernetesError as error:
            log.warning("can't challenge another operator", extra={"resource": str(key), "error": str(error)})
            return Result.FAILED
        if key in self._left:
            self._left[key] = now
        return Result.UNSETTLED


def _status(resource: Mapping[str, Any], field: str) -> str:
    value: str = resource.get("status", {}).get(field, "")
    return value


def _challenger(challenge: str) -> str:
    return challenge.partition(" ")[0]
