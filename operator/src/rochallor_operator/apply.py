"""Everything that a worker's spec asks for, put in place: the middle of a reconcile."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rochallor_operator.children import Children, is_ours
from rochallor_operator.content import Users, config_hash
from rochallor_operator.desired.autoscaling import autoscaler
from rochallor_operator.desired.deployment import deployment
from rochallor_operator.desired.disruption_budget import disruption_budget
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.desired.pod_monitor import pod_monitor
from rochallor_operator.desired.references import references
from rochallor_operator.desired.service import service
from rochallor_operator.desired.service_account import service_account
from rochallor_operator.errors import DegradedError, KubernetesError
from rochallor_operator.names import AUTOSCALERS, CONFIG_HASH, FOREIGN, MANAGER, OPTIONAL, Key, Manifest
from rochallor_operator.observe import autoscaler_trouble, owns_replicas
from rochallor_operator.reasons import Reason
from rochallor_operator.status import Aside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rochallor_operator.desired.references import Reference
    from rochallor_operator.kube import Kube
    from rochallor_operator.scaling import Autoscaling
    from rochallor_operator.spec import Worker


@dataclass
class Applied:
    """What became of it."""

    deployment: Manifest | None
    """The live Deployment, which may be someone else's."""
    autoscaler: Aside | None = None
    pod_monitor: Aside | None = None
    problems: list[DegradedError] = field(default_factory=list)


class Applier:
    """Applies and removes the children of workers. Passing trouble with the API server is raised as KubernetesError."""

    def __init__(self, kube: Kube, worker_image: str) -> None:
        self._kube = kube
        self._worker_image: Final = worker_image
        self.children: Final = Children(kube)
        self.users: Final = Users()
        """Whose pods use which Secret and ConfigMap."""

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a resource that is gone."""
        self.users.forget(key)
        self.children.forget(key)

    async def apply(self, worker: Worker, live: Manifest | None) -> Applied:
        """Put everything in place; live is the Deployment as it was.

        What is wrong with one child stops no other one. Raises InvalidSpecError, before anything is changed, when no
        pod template can be made.
        """
        uses = references(worker, pod_template(worker, self._worker_image))
        scaling, monitors = autoscaler(worker), pod_monitor(worker)
        companions = [service_account(worker), service(worker), *disruption_budget(worker)]
        done = Applied(live)
        # The autoscaler goes before the Deployment's replicas are set, and comes after they were left to it.
        wanted = {wish["kind"] for wish in [*companions, *scaling, *monitors]}
        for kind in OPTIONAL:
            if kind not in wanted:
                with _collect(done.problems):
                    await self.children.remove(worker, kind)
        for companion in companions:
            with _collect(done.problems):
                await self._put(worker, companion)
        await self._put_deployment(worker, uses, done)
        done.autoscaler = await self._put_aside(worker, scaling)
        done.pod_monitor = await self._put_aside(worker, monitors)
        return done

    async def _put(self, worker: Worker, wish: Manifest) -> Manifest:
        live = await self._kube.get(wish["kind"], worker.namespace, wish["metadata"]["name"])
        return await self.children.put(worker, wish, live)

    async def _put_deployment(self, worker: Worker, uses: list[Reference], done: Applied) -> None:
        # Noted before they are read, so that a change in between comes back as an event.
        self.users.note(Key(worker.namespace, worker.name), uses)
        missing: list[DegradedError] = []
        content = _running_hash(done.deployment)
        with _collect(missing):
            content = await config_hash(self._kube, worker.namespace, uses)
        done.problems += missing
        if missing and done.deployment is None:
            return  # no pod could start; those that run keep what they have
        with _collect(done.problems):
            if worker.autoscaling is not None:
                await self._leave_replicas(worker, worker.autoscaling, done)
            wish = deployment(worker, self._worker_image, content)
            done.deployment = await self.children.put(worker, wish, done.deployment)

    async def _leave_replicas(self, worker: Worker, scaling: Autoscaling, done: Applied) -> None:
        """Give the Deployment's replicas up before an apply without them, which would else set them to 1.

        A HorizontalPodAutoscaler never starts pods from zero, whoever has set that.
        """
        live = done.deployment
        if live is None or not is_ours(live, worker.name, worker.uid):
            return
        replicas = live["spec"].get("replicas", 1)
        stopped = replicas == 0 and scaling.provider == "hpa"
        if stopped or owns_replicas(live, MANAGER):
            done.deployment = await self._kube.give_away_replicas(live, max(replicas, scaling.min_replicas))

    async def _put_aside(self, worker: Worker, wishes: list[Manifest]) -> Aside | None:
        """Put an autoscaler or a PodMonitor in place: the last one of the wishes, which needs the others."""
        if not wishes:
            return None
        kind, name = wishes[-1]["kind"], wishes[-1]["metadata"]["name"]
        live: Manifest = {}
        refusals: list[DegradedError] = []
        with _collect(refusals), _aside(kind):
            for wish in wishes:
                live = await self._put(worker, wish)
        if refusals:
            return Aside(kind, name, refused=refusals[0])
        return Aside(kind, name, trouble=autoscaler_trouble(live) if kind in AUTOSCALERS else None)


def _running_hash(live: Manifest | None) -> str | None:
    annotations = live["spec"]["template"]["metadata"].get("annotations", {}) if live is not None else {}
    value: str | None = annotations.get(CONFIG_HASH)
    return value


@contextmanager
def _collect(problems: list[DegradedError]) -> Iterator[None]:
    """Note what stops one part for good and go on with the next. Passing trouble is raised."""
    try:
        yield
    except DegradedError as error:
        problems.append(error)
    except KubernetesError as error:
        degraded = error.as_degraded()
        if degraded is None:
            raise
        problems.append(degraded)


@contextmanager
def _aside(kind: str) -> Iterator[None]:
    """Tell apart what only others can put right, so that it doesn't hold up the worker itself."""
    try:
        yield
    except KubernetesError as error:
        if error.status == 404 and kind in FOREIGN:
            if kind == "PodMonitor":
                sentence = "the cluster has no PodMonitors: install the Prometheus Operator's resource definitions"
                raise DegradedError(Reason.POD_MONITOR_NOT_INSTALLED, sentence) from error
            raise DegradedError(Reason.KEDA_NOT_INSTALLED, "the cluster has no ScaledObjects: install KEDA") from error
        if error.status is not None and error.status >= 500 and error.as_degraded() is None:
            raise DegradedError(Reason.API_ERROR, str(error)) from error
        raise
