"""One level-triggered reconcile: spec → desired → apply → observe → status."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from rochallor_operator.apply import Applied, Applier
from rochallor_operator.children import is_ours
from rochallor_operator.deletion_cost import DeletionCosts
from rochallor_operator.errors import DegradedError, InvalidSpecError, KubernetesError
from rochallor_operator.events import transitions
from rochallor_operator.metrics import RECONCILE_SECONDS, RECONCILES, Verdict
from rochallor_operator.names import API_VERSION, KIND, METRICS_PORT, Key, Manifest, selector
from rochallor_operator.observe import Rollout, rollout, trouble
from rochallor_operator.queue import Outcome
from rochallor_operator.reports import Reports, is_busy
from rochallor_operator.spec import Worker, parse
from rochallor_operator.status import Observation, status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rochallor_operator.kube import Kube

log = logging.getLogger(__name__)


class Reconciler:
    """Brings one resource at a time into the state that its spec asks for, from whatever state it finds."""

    def __init__(self, kube: Kube, worker_image: str, report_port: int = METRICS_PORT) -> None:
        self._kube = kube
        self._applier: Final = Applier(kube, worker_image)
        self._reports: Final = Reports(report_port)
        self._verdicts: dict[Key, list[Verdict]] = {}
        self.costs: Final = DeletionCosts(kube, partial(is_busy, port=report_port))
        self.served: frozenset[str] | None = None
        """The only namespaces to serve, None for all."""

    @property
    def applied_kinds(self) -> set[str]:
        """Kinds of which a child has been applied; whoever watches them clears it."""
        return self._applier.children.applied_kinds

    def verdicts(self) -> Iterable[list[Verdict]]:
        """The conditions of every resource as they were last seen."""
        return self._verdicts.values()

    def known(self) -> list[Key]:
        """All resources that there were at their last reconcile."""
        return list(self._verdicts)

    def users_of(self, kind: str, namespace: str, name: str) -> list[Key]:
        """The resources whose pods use this Secret or ConfigMap."""
        return self._applier.users.of(kind, namespace, name)

    def hear(self, kind: str, live: Manifest, *, gone: bool) -> bool:
        """Take in an event of a child; whether its resource should be reconciled."""
        return self._applier.children.hear(kind, live, gone=gone)

    async def reconcile(self, key: Key) -> Outcome:
        """Reconcile one resource. Trouble with the API server is logged and FAILED, never raised."""
        with RECONCILE_SECONDS.time():
            try:
                outcome = await self._reconcile(key)
            except KubernetesError as error:
                log.warning("reconcile failed", extra={"worker": str(key), "error": str(error)})
                outcome = Outcome.FAILED
        RECONCILES.labels(result=outcome.name.lower()).inc()
        log.debug("reconciled", extra={"worker": str(key), "result": outcome.name.lower()})
        return outcome

    async def _reconcile(self, key: Key) -> Outcome:
        if self.served is not None and key.namespace not in self.served:
            self._forget(key)
            return Outcome.SETTLED  # a listing follows when it is served again
        resource = await self._kube.get(KIND, key.namespace, key.name)
        if resource is None or "deletionTimestamp" in resource["metadata"]:
            self._forget(key)
            return Outcome.SETTLED  # Kubernetes removes the children by their owner references
        seen = await self._put_in_place(key, resource)
        await self._report(key, resource, seen)
        if seen.settled:
            return Outcome.SETTLED
        return Outcome.REFUSED if seen.refused else Outcome.UNSETTLED

    def _forget(self, key: Key) -> None:
        self._applier.forget(key)
        self.costs.forget(key)
        self._reports.forget(key)
        self._verdicts.pop(key, None)

    async def _put_in_place(self, key: Key, resource: Manifest) -> Observation:
        """Apply what the spec asks for and look at what became of it."""
        live = await self._kube.get("Deployment", key.namespace, key.name)
        worker: Worker | None = None
        try:
            worker = parse(resource)
            autoscaler = resource.get("status", {}).get("autoscaler")
            if autoscaler is not None:
                self._applier.children.expect(key, autoscaler["kind"])
            self.costs.want(key, wanted=worker.autoscaling is not None and worker.autoscaling.pod_deletion_cost)
            done = await self._applier.apply(worker, live)
        except InvalidSpecError as error:
            worker, done = None, Applied(live, problems=[error])
        progress, pods = await self._observe(key, resource, done.deployment)
        wrong = trouble(pods)
        degraded = done.problems[0] if done.problems else None
        # What the workers themselves say is asked for when nothing is known to be wrong.
        report = await self._reports.of(key, pods if degraded is None and wrong is None else [])
        if report is not None:
            degraded = DegradedError(report.reason, report.message)
        autoscaler = done.autoscaler
        if autoscaler is not None and autoscaler.trouble is None:
            autoscaler = replace(autoscaler, trouble=self.costs.trouble(key))
        return Observation(worker, progress, wrong, degraded, autoscaler, done.pod_monitor)

    async def _observe(
        self, key: Key, resource: Manifest, live: Manifest | None
    ) -> tuple[Rollout | None, list[Manifest]]:
        """How far the Deployment is, and the pods that could tell why it is no further."""
        if live is None or not is_ours(live, key.name, resource["metadata"]["uid"]):
            return None, []
        progress = rollout(live)
        # Until it is observed, all pods are of an older specification.
        if progress.complete or not progress.observed or progress.total == 0:
            return progress, []
        return progress, await self._kube.pods(key.namespace, selector(key.name))

    async def _report(self, key: Key, resource: Manifest, seen: Observation) -> None:
        """Write the status when it says something new."""
        before = resource.get("status", {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        after = status(resource, seen, now)
        self._verdicts[key] = [(item["type"], item["status"], item["reason"]) for item in after["conditions"]]
        if after == before:
            return
        metadata = {"name": key.name, "namespace": key.namespace, "uid": resource["metadata"]["uid"]}
        await self._announce(resource, after["conditions"], now)
        await self._kube.apply_status({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": after})
        ready = after["conditions"][0]
        told = {old["type"]: old for old in before.get("conditions", [])}.get(ready["type"], {})
        if (ready["status"], ready["reason"]) != (told.get("status"), told.get("reason")):
            log.info(
                "ready" if ready["status"] == "True" else "not ready",
                extra={"worker": str(key), "reason": ready["reason"], "detail": ready["message"]},
            )

    async def _announce(self, resource: Manifest, conditions: list[Manifest], now: str) -> None:
        """Write Events, before the status: killed in between, the next run makes the same ones again and is refused."""
        for event in transitions(resource, conditions, now):
            try:
                await self._kube.create(event)
            except KubernetesError as error:
                if error.status is None:
                    raise
                log.info("event refused", extra={"event_reason": event["reason"], "error": str(error)})
