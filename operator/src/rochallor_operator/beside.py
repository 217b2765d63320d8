"""What goes on beside the reconciles of a resource: what its pods and its database are asked, and what they are told.

Each asks in the background and calls for a reconcile when an answer has changed, so nothing here delays one.
"""

from __future__ import annotations

import asyncio
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from rochallor_operator.backlog.reader import Backlogs
from rochallor_operator.content.hashes import text
from rochallor_operator.errors import DegradedError, collect
from rochallor_operator.pods.breaker_check import BreakerChecks
from rochallor_operator.pods.deletion_cost import DeletionCosts
from rochallor_operator.pods.lease_check import LeaseChecks
from rochallor_operator.pods.probe import is_busy, metrics, warning
from rochallor_operator.pods.ready_pods import ReadyPods
from rochallor_operator.pods.shield import Shields
from rochallor_operator.rollout.rollouts import Rollouts
from rochallor_operator.spec.sections import seconds
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from rochallor_operator.apply import Applied
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.desired.objects import Desired
    from rochallor_operator.names import Key, Manifest
    from rochallor_operator.observe import Problem
    from rochallor_operator.spec.worker import Worker


class Beside:
    """All of it. `port` is where pods answer; `sees_all`: whether the operator sees the resources of all namespaces;
    `backlog`: whether it may read databases."""

    def __init__(self, kube: Kube, port: int, sees_all: Callable[[], bool], *, backlog: bool) -> None:
        self._kube = kube
        self._backlog = backlog
        self.costs: Final = DeletionCosts(kube, partial(is_busy, port=port))
        self.shields: Final = Shields(kube, partial(is_busy, port=port))
        self.leases: Final = LeaseChecks(kube, partial(warning, port=port, reason=LeaseChecks.reason))
        self.breakers: Final = BreakerChecks(kube, partial(warning, port=port, reason=BreakerChecks.reason))
        self.ready_pods: Final = ReadyPods(kube)
        self.backlogs: Final = Backlogs(sees_all, monotonic)
        self.rollouts: Final = Rollouts(kube, partial(metrics, port=port))

    async def run(self, on_change: Callable[[Key], None]) -> None:
        """Ask and tell until cancelled; on_change is called for a resource of which something else is known now."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ready_pods.run())
            for asking in (
                self.costs,
                self.shields,
                self.leases,
                self.breakers,
                self.backlogs,
                self.rollouts.counters,
            ):
                group.create_task(asking.run(on_change))

    def follow(self, key: Key, resource: Manifest, worker: Worker) -> None:
        """Note what the pods of a resource are to be asked and told."""
        scaling, spec = worker.autoscaling, worker.spec
        self.costs.want(key, inf if scaling is not None and scaling.pod_deletion_cost else None)
        self.shields.want(key, None if spec.disruption_shield is None else seconds(spec.disruption_shield))
        self.leases.want(key, resource, wanted=spec.may_outlive_lease and not spec.suspend)
        self.breakers.want(key, resource, wanted=spec.has_breakers and not spec.suspend)

    async def follow_database(self, key: Key, resource: Manifest, wish: Desired, done: Applied) -> None:
        """Have the jobs in the engine's database read, if the spec names one and the policy lends its Secret."""
        forbidden = done.blocked is not None and done.blocked.reason == Reason.POLICY_VIOLATION
        if not wish.database or forbidden:
            self.backlogs.forget(key)
            return
        connection = ""
        problems: list[DegradedError] = []
        with collect(problems):
            if not self._backlog:
                raise DegradedError(Reason.DISABLED, "the operator is set to read no databases")
            connection = await text(self._kube, key.namespace, wish.database[0])
        self.backlogs.want(key, resource, wish.worker.spec.job_types, next(iter(problems), connection))

    def warning(self, key: Key) -> Problem | None:
        """What is wrong although the pods are ready."""
        return self.breakers.warning(key) or self.leases.warning(key) or self.shields.problem(key)

    def forget(self, key: Key) -> None:
        """Drop a resource that is deleted, or that somebody else manages."""
        for known in (
            self.costs,
            self.shields,
            self.leases,
            self.breakers,
            self.ready_pods,
            self.backlogs,
            self.rollouts,
        ):
            known.forget(key)
