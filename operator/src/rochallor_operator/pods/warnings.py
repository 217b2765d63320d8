"""Asks ready pods, now and then, for a warning: what is wrong although they are ready, so that no event shows it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import Key, fleet
from rochallor_operator.observe import Problem
from rochallor_operator.pods.probe import is_ready
from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest
    from rochallor_operator.status.reasons import Reason

log = logging.getLogger(__name__)

CHECK_S: Final = 120.0
"""The approximate interval between two checks of a resource's pods."""


class Warnings(ABC):
    """Checks the pods of resources for the warning of one reason, regularly.

    `ask` returns a pod's warning, "" when it has none, and None when it doesn't answer.
    """

    reason: Reason

    def __init__(self, kube: Kube, ask: Callable[[Manifest], Awaitable[str | None]]) -> None:
        self._kube = kube
        self._ask = ask
        self._warnings: dict[Key, str | None] = {}
        self._on_change: Callable[[Key], None] = lambda _: None
        pause = Backoff(first=CHECK_S, cap=CHECK_S)
        self._queue = WorkQueue(self._check, workers=4, while_unsettled=pause, after_error=pause)

    async def run(self, on_change: Callable[[Key], None]) -> None:
        """Check until cancelled; on_change is called for a resource whose warning has changed."""
        self._on_change = on_change
        await self._queue.run()

    def want(self, key: Key, resource: Mapping[str, Any], *, wanted: bool) -> None:
        """Note whether a resource's pods should be asked. Until they are, the warning in its status stands."""
        if not wanted:
            self.forget(key)
        elif key not in self._warnings:
            self._warnings[key] = self._last_warning(resource)
            self._queue.add(key)

    def forget(self, key: Key) -> None:
        """Drop a resource that is deleted, or whose pods can't have this warning."""
        self._warnings.pop(key, None)

    def warning(self, key: Key) -> Problem | None:
        """The warning of the resource's pods."""
        warning = self._warnings.get(key)
        return None if warning is None else Problem(self.reason, warning)

    @abstractmethod
    async def _judge(self, ready: list[Manifest], before: str | None) -> str | None:
        """The warning of a resource with these ready pods, of which some are asked; before is the last one."""

    async def _check(self, key: Key) -> Result:
        if key not in self._warnings:
            return Result.SETTLED
        before = self._warnings[key]
        try:
            pods = await self._kube.pods(key.namespace, fleet(key.name))
        except KubernetesError as error:
            keys = {"resource": str(key), "reason": str(self.reason), "error": str(error)}
            log.warning("can't ask pods for a warning", extra=keys)
            return Result.FAILED
        warning = await self._judge([pod for pod in pods if is_ready(pod)], before)
        if key in self._warnings and warning != before:
            self._warnings[key] = warning
            self._on_change(key)
        return Result.UNSETTLED

    def _last_warning(self, resource: Mapping[str, Any]) -> str | None:
        """The warning in a resource's status: an operator that has just started must not withdraw it."""
        for condition in resource.get("status", {}).get("conditions", []):
            if (condition["type"], condition["reason"]) == ("Degraded", self.reason):
                message: str = condition["message"]
                return message
        return None
