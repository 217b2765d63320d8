"""The autoscaler and the PodMonitor: children that the pods work without, each with a condition of its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rochallor_operator.children import Children, is_ours
from rochallor_operator.errors import DegradedError, KubernetesError, collect
from rochallor_operator.names import AUTOSCALERS, FOREIGN, KEDA, MANAGER, Manifest
from rochallor_operator.observe import (
    Addon,
    autoscaler_problem,
    bounds,
    is_paused,
    not_supported,
    owns_replicas,
    scales_from_zero,
)
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.desired.objects import Desired
    from rochallor_operator.spec.sections import Autoscaling
    from rochallor_operator.spec.worker import Worker


class Addons:
    """Applies autoscalers and PodMonitors, except those of the kinds in left_out."""

    def __init__(self, kube: Kube, children: Children, left_out: frozenset[str]) -> None:
        self._kube = kube
        self._children = children
        self._left_out = left_out

    async def kept_while_suspended(self, worker: Worker) -> frozenset[str]:
        """The kinds that a suspended worker keeps: a ScaledObject that someone has paused.

        Deleting it would lose the pause, and while paused it scales nothing.
        """
        scaling = worker.spec.autoscaling
        if not worker.spec.suspend or scaling is None or scaling.provider != "keda" or KEDA & self._left_out:
            return frozenset()
        live = await self._kube.get("ScaledObject", worker.namespace, worker.name)
        paused = live is not None and is_ours(live, worker.name, worker.uid) and is_paused(live)
        return KEDA if paused else frozenset()

    async def hand_over_replicas(self, worker: Worker, scaling: Autoscaling, live: Manifest) -> Manifest:
        """Give up the replicas of a live Deployment, which an apply without them would otherwise set to 1.

        A HorizontalPodAutoscaler scales up only from a zero of its own: from any other, it must be given a pod.
        """
        if not is_ours(live, worker.name, worker.uid):
            return live
        replicas = live["spec"].get("replicas", 1)
        stopped = replicas == 0 and scaling.provider == "hpa" and not await self._may_leave_zero(worker, scaling)
        if stopped or owns_replicas(live, MANAGER):
            least = max(1, scaling.min_replicas) if stopped else scaling.min_replicas
            return await self._kube.hand_over_replicas(live, max(replicas, least))
        return live

    async def _may_leave_zero(self, worker: Worker, scaling: Autoscaling) -> bool:
        """Whether the HorizontalPodAutoscaler will start pods from zero when there is work for them."""
        if scaling.min_replicas > 0:
            return False
        live = await self._kube.get("HorizontalPodAutoscaler", worker.namespace, worker.name)
        return live is not None and is_ours(live, worker.name, worker.uid) and scales_from_zero(live)

    async def put_autoscaler(
        self,
        wish: Desired,
        deployment: Manifest | None,
        blocked: DegradedError | None,
        problems: list[DegradedError],
    ) -> Addon | None:
        """Put the autoscaler in place, unless there is no Deployment of ours: it could scale somebody else's.

        blocked is what keeps the Deployment from being as the spec asks.
        """
        worker, wishes = wish.worker, wish.autoscaler
        ours = deployment is not None and is_ours(deployment, worker.name, worker.uid)
        if blocked is None or not wishes or ours:
            return await self.put(worker, wishes)
        for kind in set(AUTOSCALERS) - self._left_out:
            with collect(problems):
                await self._children.remove(worker, kind)
        refused = DegradedError(blocked.reason, f"left out, because there is no Deployment to scale: {blocked}")
        return Addon(wishes[-1]["kind"], wishes[-1]["metadata"]["name"], refused=refused)

    async def put(self, worker: Worker, wishes: list[Manifest]) -> Addon | None:
        """Put an autoscaler or a PodMonitor in place: the last of the wishes, which needs the others."""
        if not wishes:
            return None
        kind, name = wishes[-1]["kind"], wishes[-1]["metadata"]["name"]
        if kind in self._left_out:
            return Addon(kind, name, refused=DegradedError(Reason.DISABLED, f"the operator is set to make no {kind}s"))
        live: Manifest = {}
        refusals: list[DegradedError] = []
        with collect(refusals), _addon_errors(kind):
            for wish in wishes:
                live = await self._children.ensure(worker, wish)
        if kind not in AUTOSCALERS:
            return Addon(kind, name, refused=next(iter(refusals), None))
        if not refusals:
            problem = not_supported(wishes[-1], live) or autoscaler_problem(live)
            return Addon(kind, name, problem=problem, bounds=bounds(kind, live))
        stays = await self.in_place(worker, kind)
        return Addon(kind, name, refused=refusals[0], bounds=None if stays is None else stays.bounds)

    async def in_place(self, worker: Worker, kind: str) -> Addon | None:
        """The worker's object of a kind as it is, if there is one."""
        live: Manifest | None = None
        with collect([]):  # a kind that can't be written may not be readable either, and has been refused then
            live = await self._kube.get(kind, worker.namespace, worker.name)
        if live is None or not is_ours(live, worker.name, worker.uid):
            return None
        if kind not in AUTOSCALERS:
            return Addon(kind, worker.name)
        return Addon(kind, worker.name, problem=autoscaler_problem(live), bounds=bounds(kind, live))


@contextmanager
def _addon_errors(kind: str) -> Iterator[None]:
    """Raise as DegradedError what only others can fix, so that it doesn't hold up the worker itself."""
    try:
        yield
    except KubernetesError as error:
        if error.status == 404 and kind in FOREIGN:
            if kind == "PodMonitor":
                sentence = "the cluster has no PodMonitors: install the Prometheus Operator's CRDs"
                raise DegradedError(Reason.POD_MONITOR_NOT_INSTALLED, sentence) from error
            raise DegradedError(Reason.KEDA_NOT_INSTALLED, "the cluster has no ScaledObjects: install KEDA") from error
        if kind == "HorizontalPodAutoscaler" and "minReplicas: Invalid value: 0" in str(error):
            sentence = (
                "this cluster's HorizontalPodAutoscalers have no minReplicas 0: write 1 or more, or provider keda, or"
                f" use Kubernetes 1.37 or newer with the feature gate HPAScaleToZero: {error}"
            )
            raise DegradedError(Reason.NOT_SUPPORTED, sentence) from error
        if error.status is not None and error.status >= 500 and error.as_degraded() is None:
            raise DegradedError(Reason.API_ERROR, str(error)) from error
        raise
