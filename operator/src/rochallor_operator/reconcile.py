"""One level-triggered reconcile: spec → desired → apply → observe → status."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rochallor_operator.apply import Applied, Applier
from rochallor_operator.children import is_ours
from rochallor_operator.errors import InvalidSpecError, KubernetesError
from rochallor_operator.metrics import RECONCILE_SECONDS, RECONCILES
from rochallor_operator.names import API_VERSION, KIND, Key, Manifest, selector
from rochallor_operator.observe import Rollout, Trouble, rollout, trouble
from rochallor_operator.queue import Outcome
from rochallor_operator.spec import Worker, parse
from rochallor_operator.status import Observation, status

if TYPE_CHECKING:
    from rochallor_operator.kube import Kube

log = logging.getLogger(__name__)


class Reconciler:
    """Brings one resource at a time into the state that its spec asks for, from whatever state it finds."""

    def __init__(self, kube: Kube, worker_image: str) -> None:
        self._kube = kube
        self._applier: Final = Applier(kube, worker_image)

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
        resource = await self._kube.get(KIND, key.namespace, key.name)
        if resource is None or "deletionTimestamp" in resource["metadata"]:
            self._applier.forget(key)
            return Outcome.SETTLED  # Kubernetes removes the children by their owner references
        seen = await self._put_in_place(key, resource)
        await self._report(key, resource, seen)
        if seen.settled:
            return Outcome.SETTLED
        return Outcome.FAILED if seen.refused else Outcome.UNSETTLED

    async def _put_in_place(self, key: Key, resource: Manifest) -> Observation:
        """Apply what the spec asks for and look at what became of it."""
        live = await self._kube.get("Deployment", key.namespace, key.name)
        worker: Worker | None = None
        try:
            worker = parse(resource)
            autoscaler = resource.get("status", {}).get("autoscaler")
            if autoscaler is not None:
                self._applier.children.expect(key, autoscaler["kind"])
            done = await self._applier.apply(worker, live)
        except InvalidSpecError as error:
            worker, done = None, Applied(live, problems=[error])
        progress, wrong = await self._observe(key, resource, done.deployment)
        degraded = done.problems[0] if done.problems else None
        return Observation(worker, progress, wrong, degraded, done.autoscaler, done.pod_monitor)

    async def _observe(
        self, key: Key, resource: Manifest, live: Manifest | None
    ) -> tuple[Rollout | None, Trouble | None]:
        if live is None or not is_ours(live, key.name, resource["metadata"]["uid"]):
            return None, None
        progress = rollout(live)
        if progress.complete or not progress.observed:  # until it is observed, all pods are of an older specification
            return progress, None
        return progress, trouble(await self._kube.pods(key.namespace, selector(key.name)))

    async def _report(self, key: Key, resource: Manifest, seen: Observation) -> None:
        """Write the status when it says something new."""
        before = resource.get("status", {})
        after = status(resource, seen, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        if after == before:
            return
        metadata = {"name": key.name, "namespace": key.namespace, "uid": resource["metadata"]["uid"]}
        await self._kube.apply_status({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": after})
        ready = after["conditions"][0]
        told = {old["type"]: old for old in before.get("conditions", [])}.get(ready["type"], {})
        if (ready["status"], ready["reason"]) != (told.get("status"), told.get("reason")):
            log.info(
                "ready" if ready["status"] == "True" else "not ready",
                extra={"worker": str(key), "reason": ready["reason"], "detail": ready["message"]},
            )
