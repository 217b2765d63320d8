"""Warns of handlers that may outlive their leases, when the workers have found that the engine can't renew leases.

Such a worker is ready all the same, so no event shows it: for resources whose spec allows such handlers, a few ready
pods are asked now and then. A pod's warning stands until the pod withdraws it, or is deleted and no other repeats it.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any, Final

from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import Key, selector
from rochallor_operator.observe import Problem
from rochallor_operator.pods.probe import is_ready
from rochallor_operator.runtime.queue import Backoff, Result, WorkQueue
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest

log = logging.getLogger(__name__)

CHECK_S: Final = 120.0
"""The approximate interval between two checks of a resource's pods: engines are rarely upgraded."""
ASKED: Final = 3
"""The most pods that one check asks."""


class LeaseChecks:
    """Checks the pods of the resources whose handlers may outlive a lease, regularly.

    `ask` returns a pod's warning, "" when it has none, and None when it doesn't answer.
    """

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
            self._warnings[key] = _last_warning(resource)
            self._queue.add(key)

    def forget(self, key: Key) -> None:
        """Drop a resource that is deleted, or whose handlers can't outlive a lease."""
        self._warnings.pop(key, None)

    def warning(self, key: Key) -> Problem | None:
        """The warning of a pod of the resource; the sentence names the pod."""
        warning = self._warnings.get(key)
        return None if warning is None else Problem(Reason.LEASE_NOT_RENEWABLE, warning)

    async def _check(self, key: Key) -> Result:
        if key not in self._warnings:
            return Result.SETTLED
        before = self._warnings[key]
        try:
            pods = await self._kube.pods(key.namespace, selector(key.name))
        except KubernetesError as error:
            log.warning("can't ask pods about leases", extra={"resource": str(key), "error": str(error)})
            return Result.FAILED
        warning = await self._ask_pods(pods, before)
        if key in self._warnings and warning != before:
            self._warnings[key] = warning
            self._on_change(key)
        return Result.UNSETTLED

    async def _ask_pods(self, pods: Iterable[Manifest], before: str | None) -> str | None:
        """The warning of one of the ready pods. Without any answer, the warning from before stands."""
        ready = [pod for pod in pods if is_ready(pod)]
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


def _last_warning(resource: Mapping[str, Any]) -> str | None:
    """The warning in a resource's status: an operator that has just started must not withdraw it."""
    for condition in resource.get("status", {}).get("conditions", []):
        if (condition["type"], condition["reason"]) == ("Degraded", Reason.LEASE_NOT_RENEWABLE):
            message: str = condition["message"]
            return message
    return None


def _naming(pod: Manifest) -> str:
    return f"pod {pod['metadata']['name']}: "


def _is_by(pod: Manifest, warning: str | None) -> bool:
    return warning is not None and warning.startswith(_naming(pod))
