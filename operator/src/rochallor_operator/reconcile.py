"""One level-triggered reconcile: spec → desired → apply → observe → status. Read `Reconciler._reconcile` first."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Final

from rochallor_operator.apply import Applied, Applier, handlers_shown
from rochallor_operator.beside import Beside
from rochallor_operator.children import is_ours
from rochallor_operator.claims import Claims
from rochallor_operator.connection_statuses import ConnectionStatuses
from rochallor_operator.connections import Connections, Resolved
from rochallor_operator.desired.objects import desired
from rochallor_operator.errors import DegradedError, InvalidSpecError, KubernetesError
from rochallor_operator.names import API_VERSION, KIND, METRICS_PORT, Key, Manifest, Release, canary_name, selector
from rochallor_operator.observe import Addon, Observation, Problem, Rollout, newest_pods, rollout
from rochallor_operator.pods.probe import Readiness
from rochallor_operator.pods.problems import of_template, problem, stuck
from rochallor_operator.policy import Policy
from rochallor_operator.rollout.state import WITH_CANARY, State, recorded
from rochallor_operator.runtime.metrics import RECONCILE_SECONDS, RECONCILES, Condition
from rochallor_operator.runtime.queue import Result
from rochallor_operator.status.conditions import status, was_ready
from rochallor_operator.status.events import transitions
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import ObjectRef
    from rochallor_operator.spec.worker import Worker

log = logging.getLogger(__name__)


class Reconciler:
    """Brings one resource at a time into the state that its spec asks for, from whatever state it finds."""

    def __init__(
        self,
        kube: Kube,
        release: Release,
        report_port: int = METRICS_PORT,
        policy: Policy = Policy(),  # noqa: B008 (frozen)
    ) -> None:
        self._kube = kube
        self._worker_image: Final = release.worker_image
        self.policy: Final = policy
        self._applier: Final = Applier(kube, release, policy)
        self._readiness: Final = Readiness(report_port)
        self._conditions: dict[Key, list[Condition]] = {}
        self.connections: Final = Connections(
            kube, release.namespace, lambda: self.served is None, copy_secrets=policy.copy_secrets
        )
        self.connection_statuses: Final = ConnectionStatuses(
            kube, self.connections.users.of, lambda key: self._conditions.get(key, [])
        )
        self.connections.on_change = self.connection_statuses.add
        self.claims: Final = Claims(kube, release.name, monotonic)
        self.beside: Final = Beside(kube, report_port, lambda: self.served is None, backlog=policy.backlog)
        self.served: frozenset[str] | None = None
        """The only namespaces to serve, None for all."""

    async def reconcile(self, key: Key) -> Result:
        """Reconcile one resource. An API error is logged and returned as FAILED, never raised."""
        with RECONCILE_SECONDS.time():
            try:
                result = await self._reconcile_if_ours(key)
            except KubernetesError as error:
                # The end of a namespace is an event for each of its resources.
                result = Result.SETTLED if error.namespace_ends else Result.FAILED
                level = logging.DEBUG if error.namespace_ends else logging.WARNING
                log.log(level, "reconcile failed", extra={"resource": str(key), "error": str(error)})
        RECONCILES.labels(result=result.name.lower()).inc()
        log.debug("reconciled", extra={"resource": str(key), "result": result.name.lower()})
        return result

    async def _reconcile_if_ours(self, key: Key) -> Result:
        if self.served is not None and key.namespace not in self.served:
            self._forget(key)
            self.claims.forget(key)
            self.beside.backlogs.gone(key)
            return Result.SETTLED  # a listing follows when it is served again
        resource = await self._kube.get(KIND, key.namespace, key.name)
        if resource is None or "deletionTimestamp" in resource["metadata"]:
            self._forget(key)
            self.claims.forget(key)
            self.beside.backlogs.gone(key)
            return Result.SETTLED  # Kubernetes deletes the children by their owner references
        self.beside.backlogs.note_types(key, resource)
        if self.claims.yields(key, resource):
            self._forget(key)
            return Result.SETTLED
        return await self._reconcile(key, resource)

    async def _reconcile(self, key: Key, resource: Manifest) -> Result:
        """The five steps of a reconcile. An invalid spec, or a connection that can't be used, changes no object and is
        reported in the status."""
        worker: Worker | None = None
        live = await self._kube.get("Deployment", key.namespace, key.name)
        try:
            found = await self.connections.resolve(key, resource)
            worker = found.worker
            autoscaler = resource.get("status", {}).get("autoscaler")
            if autoscaler is not None:
                self._applier.children.expect(key, autoscaler["kind"])
            self.beside.follow(key, resource, worker)
            if found.problem is None:
                done = await self._apply(key, resource, found, live)
            else:
                self.beside.backlogs.forget(key)  # what was lent may be taken back: only pods, which hold it, go on
                done = await self._applier.leave(worker, live, recorded(resource), found.problem)
        except InvalidSpecError as error:
            worker, done = None, Applied(live, blocked=error)
        seen = await self._observe(key, resource, worker, done)
        await self._write_status(key, resource, seen)
        await self.claims.clear_challenge(key, resource)
        if seen.settled:
            return Result.SETTLED
        return Result.REFUSED if seen.refused else Result.UNSETTLED

    async def _apply(self, key: Key, resource: Manifest, found: Resolved, live: Manifest | None) -> Applied:
        state, canary = recorded(resource), None
        if state is not None and state.phase in WITH_CANARY:
            canary = await self._kube.get("Deployment", key.namespace, canary_name(key.name))
        wish = desired(found.worker, self._worker_image, live, canary, found.copies)
        done = await self._applier.apply(wish, live, state)
        self.beside.ready_pods.tell(key, done.ready_pods)
        await self.beside.follow_database(key, resource, wish, done)
        return done

    async def _observe(self, key: Key, resource: Manifest, worker: Worker | None, done: Applied) -> Observation:
        """What the cluster looks like after the apply."""
        progress, wrong, reported = await self._observe_pods(key, resource, done)
        return Observation(
            worker,
            progress,
            wrong,
            next(iter([*done.problems, *([reported] if reported is not None else [])]), None),
            autoscaler=self._observe_autoscaler(key, done),
            pod_monitor=done.pod_monitor,
            backlog=self.beside.backlogs.verdict(key),
            warning=self.claims.warning(key, resource) or self.beside.warning(key),
            blocked=done.blocked,
            postponed=done.postponed,
            handlers=None if worker is None else handlers_shown(resource, worker, done),
            state=self._next_state(key, resource, worker, done),
        )

    def _next_state(self, key: Key, resource: Manifest, worker: Worker | None, done: Applied) -> State | None:
        """The next state of the rollout; the recorded one stays while the spec is invalid."""
        if worker is None:
            return recorded(resource)
        if done.trial is None:
            self.beside.rollouts.forget(key)
            return done.left
        return self.beside.rollouts.next(key, resource, worker, done.trial)

    async def _observe_pods(
        self, key: Key, resource: Manifest, done: Applied
    ) -> tuple[Rollout | None, Problem | None, DegradedError | None]:
        """The Deployment's progress, why it is no further, and that reason again if the workers have reported it."""
        live = done.deployment
        if live is None or not is_ours(live, key.name, resource["metadata"]["uid"]):
            self._readiness.forget(key)
            return None, None, None
        progress, now = rollout(live), datetime.now(UTC)
        pods: list[Manifest] = []
        # Until it is observed, all pods are of an older specification. Those of a ready resource have no problem.
        if progress.observed and progress.total > 0 and not (progress.complete and was_ready(resource)):
            pods = of_template(await self._kube.pods(key.namespace, selector(key.name) | newest_pods(live)), live)
        wrong = problem(pods, now)
        if progress.complete:
            self._readiness.forget(key)
            return progress, wrong, None
        if done.missing is not None:
            wrong = Problem(done.missing.reason, str(done.missing))
        # The workers themselves are asked when nothing is known to be wrong.
        reported = await self._readiness.problem(key, pods if wrong is None and done.blocked is None else [])
        if reported is not None:
            return progress, reported, DegradedError(Reason(reported.reason), reported.message)
        return progress, wrong or stuck(progress, pods, now), None

    def _observe_autoscaler(self, key: Key, done: Applied) -> Addon | None:
        autoscaler = done.autoscaler
        if autoscaler is not None and autoscaler.problem is None:
            return replace(autoscaler, problem=self.beside.costs.problem(key))
        return autoscaler

    async def _write_status(self, key: Key, resource: Manifest, seen: Observation) -> None:
        """Write the status if it has changed."""
        before = {field: value for field, value in resource.get("status", {}).items() if field != "challenge"}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        after = status(resource, seen, now) | self.claims.status_fields(key, resource)
        known = self._conditions.get(key)
        self._conditions[key] = [_condition(condition) for condition in after["conditions"]]
        connection = self.connections.named_by(key)
        if connection is not None and self._conditions[key] != known:
            self.connection_statuses.add(connection)
        if after == before:
            return
        metadata = {"name": key.name, "namespace": key.namespace, "uid": resource["metadata"]["uid"]}
        await self._write_events(key, resource, after["conditions"], now)
        await self._kube.apply_status({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": after})
        ready = after["conditions"][0]
        last = {old["type"]: old for old in before.get("conditions", [])}.get(ready["type"], {})
        if (ready["status"], ready["reason"]) != (last.get("status"), last.get("reason")):
            log.info(
                "ready" if ready["status"] == "True" else "not ready",
                extra={"resource": str(key), "reason": ready["reason"], "detail": ready["message"]},
            )

    async def _write_events(self, key: Key, resource: Manifest, conditions: list[Manifest], now: str) -> None:
        """Write Events, before the status: killed in between, the next run makes the same ones, which are refused."""
        for event in transitions(resource, conditions, now):
            try:
                await self._kube.create(event)
            except KubernetesError as error:
                if error.status in {None, 429}:
                    raise
                keys = {"resource": str(key), "reason": event["reason"], "error": str(error)}
                log.info("event refused", extra=keys)

    def _forget(self, key: Key) -> None:
        self._applier.forget(key)
        self.connections.forget(key)
        self.beside.forget(key)
        self._readiness.forget(key)
        self._conditions.pop(key, None)

    def on_child_event(self, kind: str, live: Manifest, *, deleted: bool) -> bool:
        """Note an event of a child; returns whether its resource should be reconciled."""
        return self._applier.children.on_event(kind, live, deleted=deleted)

    @property
    def kinds_in_use(self) -> set[str]:
        """Kinds of which a child has been applied or a connection read since the watch started."""
        return self._applier.children.applied_kinds | self.connections.read_kinds

    def restart_watch(self) -> None:
        """Note that the watch starts: which kinds are in use is found out again."""
        self._applier.children.applied_kinds.clear()
        self.connections.read_kinds.clear()

    def conditions(self) -> Iterable[list[Condition]]:
        """The last known conditions of every resource."""
        return self._conditions.values()

    def known(self) -> list[Key]:
        """All resources that existed at their last reconcile."""
        return list(self._conditions)

    def users_of(self, used: ObjectRef) -> list[Key]:
        """The resources that depend on this object."""
        return sorted({*self._applier.users.of(used), *self.connections.users.of(used)})

    def users_of_any(self, kind: str) -> list[Key]:
        """The resources that depend on any object of a kind."""
        return sorted({*self._applier.users.of_any(kind), *self.connections.users.of_any(kind)})


def _condition(condition: Manifest) -> Condition:
    since = datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
    return Condition(condition["type"], condition["status"], condition["reason"], since)
