"""One level-triggered reconcile: spec → desired → apply → observe → status."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rochallor_operator.children import Children, digest, is_ours
from rochallor_operator.desired.deployment import deployment
from rochallor_operator.desired.service import service
from rochallor_operator.errors import DegradedError, KubernetesError
from rochallor_operator.metrics import RECONCILE_SECONDS, RECONCILES
from rochallor_operator.names import API_VERSION, HANDLERS_HASH, KIND, Manifest, selector, service_name
from rochallor_operator.observe import rollout, trouble
from rochallor_operator.queue import Outcome
from rochallor_operator.reasons import Reason
from rochallor_operator.spec import Worker, parse
from rochallor_operator.status import Observation, status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rochallor_operator.kube import Kube

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """Which resource to reconcile."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Reconciler:
    """Brings one resource at a time into the state that its spec asks for, from whatever state it finds."""

    def __init__(self, kube: Kube, worker_image: str) -> None:
        self._kube = kube
        self._worker_image: Final = worker_image
        self._children = Children(kube)
        self._config_maps: dict[Key, str] = {}

    def users_of(self, namespace: str, config_map: str) -> list[Key]:
        """The resources whose handlers are in this ConfigMap."""
        return [key for key, name in self._config_maps.items() if (key.namespace, name) == (namespace, config_map)]

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
            self._forget(key)
            return Outcome.SETTLED  # Kubernetes removes the children by their owner references
        seen = await self._put_in_place(key, resource)
        await self._report(key, resource, seen)
        if seen.settled:
            return Outcome.SETTLED
        return Outcome.UNSETTLED if seen.degraded is None else Outcome.FAILED

    def _forget(self, key: Key) -> None:
        self._config_maps.pop(key, None)
        self._children.forget(key.namespace, "Deployment", key.name)
        self._children.forget(key.namespace, "Service", service_name(key.name))

    async def _put_in_place(self, key: Key, resource: Manifest) -> Observation:
        """Apply what the spec asks for and look at what became of it."""
        problems: list[DegradedError] = []
        worker: Worker | None = None
        live = await self._kube.get("Deployment", key.namespace, key.name)
        with _collect(problems):
            worker = parse(resource)
        if worker is not None:
            live = await self._apply(key, worker, live, problems)
        degraded = problems[0] if problems else None
        if live is None or not is_ours(live, key.name, resource["metadata"]["uid"]):
            return Observation(worker, None, None, degraded)
        progress = rollout(live)
        pods = [] if progress.complete else await self._kube.pods(key.namespace, selector(key.name))
        return Observation(worker, progress, trouble(pods), degraded)

    async def _apply(
        self, key: Key, worker: Worker, live: Manifest | None, problems: list[DegradedError]
    ) -> Manifest | None:
        """Put Service and Deployment into place; live is the Deployment as it was, the result as it is now."""
        with _collect(problems):
            present = await self._kube.get("Service", key.namespace, service_name(key.name))
            await self._children.put(worker, service(worker), present)
        # Without the ConfigMap, pods that run keep the handlers they have and new ones couldn't start.
        handlers_hash = _running_hash(live)
        with _collect(problems):
            handlers_hash = await self._handlers_hash(key, worker)
        if worker.spec.handlers.config_map is not None and handlers_hash is None:
            return live
        desired = deployment(worker, self._worker_image, handlers_hash)
        with _collect(problems):
            live = await self._children.put(worker, desired, live)
        return live  # noqa: RET504 (as it was, when the apply was refused)

    async def _handlers_hash(self, key: Key, worker: Worker) -> str | None:
        """Hash of the handlers' ConfigMap, or None when the handlers are in the image."""
        handlers = worker.spec.handlers.config_map
        if handlers is None:
            self._config_maps.pop(key, None)
            return None
        # Noted before it is read, so that a change in between comes back as an event.
        self._config_maps[key] = handlers.name
        config_map = await self._kube.get("ConfigMap", key.namespace, handlers.name)
        if config_map is None:
            raise DegradedError(
                Reason.CONFIG_MAP_NOT_FOUND, f"ConfigMap {handlers.name!r} with the handlers does not exist"
            )
        content = {part: config_map.get(part, {}) for part in ("data", "binaryData")}
        keys = sorted([*content["data"], *content["binaryData"]])
        if handlers.key not in keys:
            raise DegradedError(
                Reason.CONFIG_MAP_NOT_FOUND,
                f"ConfigMap {handlers.name!r} has no key {handlers.key!r}; it has {', '.join(keys) or 'none'}",
            )
        return digest(content)

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


def _running_hash(live: Manifest | None) -> str | None:
    annotations = live["spec"]["template"]["metadata"].get("annotations", {}) if live is not None else {}
    value: str | None = annotations.get(HANDLERS_HASH)
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
