"""Puts in place everything that a worker's spec asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final

from rochallor_operator.addons import Addons
from rochallor_operator.children import Children
from rochallor_operator.content.copies import Copies
from rochallor_operator.content.hashes import Found, Users, content, read
from rochallor_operator.content.leftovers import Leftovers
from rochallor_operator.content.pacing import LONGEST_S, Pacing
from rochallor_operator.desired.deployment import Content, content_of
from rochallor_operator.desired.environment import PODS_KEY
from rochallor_operator.desired.references import Reference
from rochallor_operator.errors import DegradedError, collect
from rochallor_operator.names import OPTIONAL, Key, Manifest, Release, code_name
from rochallor_operator.policy import Policy, account_of, breach
from rochallor_operator.rollout.canaries import Canaries, Trial
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.desired.objects import Desired
    from rochallor_operator.observe import Addon
    from rochallor_operator.rollout.state import State
    from rochallor_operator.spec.worker import Worker


@dataclass
class Applied:
    """The result of an apply."""

    deployment: Manifest | None
    """The live Deployment, which may be someone else's."""
    blocked: DegradedError | None = None
    """Why it isn't as the spec asks."""
    missing: DegradedError | None = None
    """A Secret, ConfigMap or key that the pods use and that doesn't exist. Running pods keep what they have."""
    postponed: str | None = None
    """Why the pods don't have the newest content of what they use yet."""
    handlers: Manifest | None = None
    """Which version of a ConfigMap with handlers the pods have, for the status; None when they have none, or not the
    newest."""
    ready_pods: str | None = None
    """The number of ready pods that the pods can read; None when no limit needs it, or it can't be written."""
    trial: Trial | None = None
    """The canary rollout; None with another strategy."""
    left: State | None = None
    """That of the last strategy, as long as something of it is left."""
    autoscaler: Addon | None = None
    pod_monitor: Addon | None = None
    problems: list[DegradedError] = field(default_factory=list)


class Applier:
    """Applies and removes the children of workers. Transient API errors are raised as KubernetesError."""

    def __init__(self, kube: Kube, release: Release, policy: Policy) -> None:
        self._kube = kube
        self._key: Final = release.key
        self._policy: Final = policy
        self._copies: Final = Copies(kube)
        self._pacing: Final = Pacing(monotonic)
        self.children: Final = Children(kube)
        self._leftovers: Final = Leftovers(kube, copy_secrets=policy.copy_secrets)
        self._canaries: Final = Canaries(kube, self.children, release.key)
        self._addons: Final = Addons(kube, self.children, policy.left_out)
        self.users: Final = Users()
        """Whose pods use which Secret and ConfigMap."""

    def forget(self, key: Key) -> None:
        """Drop everything known about a deleted resource."""
        self.users.forget(key)
        self.children.forget(key)
        self._copies.forget(key)
        self._leftovers.forget(key)
        self._canaries.forget(key)
        self._pacing.forget(key)

    async def apply(self, wish: Desired, live: Manifest | None, state: State | None = None) -> Applied:
        """Put everything in place; live is the Deployment as it was, state the recorded one of its rollout.

        A problem with one child doesn't stop the others. Nothing is changed when the policy forbids the pods. Raises
        InvalidSpecError when the template doesn't have the form of a pod template.
        """
        worker, done = wish.worker, Applied(live)
        if worker.spec.rollout.canary:
            done.trial = Trial(state)
        else:
            done.left = state
        # Noted before they are read, so that a change in between triggers another reconcile.
        sources = [*wish.uses, *wish.database]
        self._note_uses(worker, sources)
        lent = [copy["metadata"]["name"] for copy in wish.copies]
        done.blocked = await breach(self._kube, self._policy, worker, wish.template, sources, wish.autoscaler, lent)
        if done.blocked is not None:
            return done
        # An autoscaler is removed before the Deployment's replicas are set, and created after they are handed over.
        await self._remove_unwanted(wish, done)
        done.blocked = await self._put_account(wish, done)
        done.blocked = await self._put_copies(wish, done) or done.blocked
        for companion in wish.companions:
            with collect(done.problems):
                await self.children.ensure(worker, companion)
        if wish.scale is not None:
            with collect(done.problems):
                await self.children.ensure(worker, wish.scale)
                done.ready_pods = wish.scale["data"][PODS_KEY]
        await self._put_deployment(wish, done)
        if done.trial is None:
            with collect(done.problems):
                await (self._canaries.remove(worker) if state is None else self._canaries.end(worker))
                done.left = None
        done.autoscaler = await self._addons.put_autoscaler(wish, done.deployment, done.blocked, done.problems)
        done.pod_monitor = await self._addons.put(worker, wish.pod_monitor)
        if done.blocked is None and done.deployment is not None:
            with collect(done.problems):
                canary = None if done.trial is None else done.trial.canary
                await self._copies.prune(worker, done.deployment, canary)
                if done.trial is None or not done.trial.differs:
                    await self._leftovers.prune(wish, done.deployment)
        return done

    async def leave(
        self, worker: Worker, live: Manifest | None, state: State | None, problem: DegradedError
    ) -> Applied:
        """Change nothing, because of a problem that leaves unknown what is wanted; what is in place stays."""
        done = Applied(live, left=state, problems=[problem])
        if live is None:
            done.blocked = problem
        if worker.autoscaling is not None:
            kind = "ScaledObject" if worker.autoscaling.provider == "keda" else "HorizontalPodAutoscaler"
            done.autoscaler = await self._addons.in_place(worker, kind)
        if worker.spec.metrics.pod_monitor:
            done.pod_monitor = await self._addons.in_place(worker, "PodMonitor")
        return done

    def _note_uses(self, worker: Worker, uses: Iterable[Reference]) -> None:
        self.users.note(Key(worker.namespace, worker.name), [use.object_in(worker.namespace) for use in uses])

    async def _remove_unwanted(self, wish: Desired, done: Applied) -> None:
        kept = wish.kinds | self._policy.left_out | await self._addons.kept_while_suspended(wish.worker)
        for kind in OPTIONAL:
            if kind not in kept:
                with collect(done.problems):
                    await self.children.remove(wish.worker, kind)

    async def _put_account(self, wish: Desired, done: Applied) -> DegradedError | None:
        """Put the pods' account in place. Returns why no new pods may be made with it: it is someone else's."""
        refused: list[DegradedError] = []
        with collect(refused):
            await self.children.ensure(wish.worker, wish.account)
        done.problems += refused
        name = wish.account["metadata"]["name"]
        running = account_of(done.deployment["spec"]["template"]) if done.deployment is not None else None
        if account_of(wish.template) != name or running == name:
            return None
        return next((error for error in refused if error.reason == Reason.NAME_CONFLICT), None)

    async def _put_copies(self, wish: Desired, done: Applied) -> DegradedError | None:
        """Put the copies of lent Secrets in place. Returns why no new pods may be made with one: it is someone else's,
        and the policy has not been asked; or why there can't be any: it would only be said that the copy is missing."""
        refused: list[DegradedError] = []
        for copy in wish.copies:
            with collect(refused):
                await self.children.ensure(wish.worker, copy)
        done.problems += refused
        first = done.deployment is None
        return next((error for error in refused if first or error.reason == Reason.NAME_CONFLICT), None)

    async def _put_deployment(self, wish: Desired, done: Applied) -> None:
        worker, running = wish.worker, done.deployment
        refused: list[DegradedError] = []
        newest = content_of(running)
        with collect(refused):
            newest = await self._newest(wish, done)
        done.problems += refused
        if running is None:
            done.blocked = done.blocked or done.missing or next(iter(refused), None)  # no pod could start
        if done.blocked is not None:
            return
        asked = wish.deployment(newest)
        with collect(refused):
            if worker.autoscaling is not None and running is not None:
                done.deployment = await self._addons.hand_over_replicas(worker, worker.autoscaling, running)
            known = not refused and done.missing is None and done.postponed is None
            stable = asked
            if done.trial is not None:
                stable = await self._canaries.with_stable_template(worker, asked, done.trial, known=known)
            done.deployment = await self.children.put(worker, stable, done.deployment)
            if known and running is not None and self._is_new(wish, done, newest, running):
                self._pacing.note_rollout(Key(worker.namespace, worker.name), worker.generation)
        done.blocked = next(iter(refused), None)
        if done.trial is not None:
            done.trial.stable = done.deployment if done.blocked is None else None
            with collect(done.problems):
                await self._canaries.put(worker, asked, done.deployment, done.trial)
            done.problems += [done.trial.refused] if done.trial.refused is not None else []

    def _is_new(self, wish: Desired, done: Applied, newest: Content, running: Manifest | None) -> bool:
        """Whether pods of this content would be replaced: those of the Deployment, or those on trial."""
        if done.trial is None or done.trial.state is None:
            return newest != content_of(running)
        return self._canaries.is_new(wish.worker, wish.deployment(newest), done.trial.state)

    async def _newest(self, wish: Desired, done: Applied) -> Content:
        """The content that the pods should have: the newest, unless something is missing or it comes too soon.

        Raises what refuses a copy of the code.
        """
        worker = wish.worker
        key, running = Key(worker.namespace, worker.name), content_of(done.deployment)
        missing: list[DegradedError] = []
        found: Found = {}
        with collect(missing):
            found = await read(self._kube, worker.namespace, wish.uses)
        done.missing = next(iter(missing), None)
        done.problems += missing
        if missing:
            return running
        newest = content(self._key, worker, wish.uses, found)
        new = done.deployment is not None and self._is_new(wish, done, newest, done.deployment)
        if new and not self._pacing.allows(key, worker.generation):
            what = "a Secret or ConfigMap that the pods use"
            done.postponed = f"{what} has changed again: it is rolled out within about {LONGEST_S:.0f} s"
            return running
        handlers = worker.spec.handlers.config_map
        source = found.get(("ConfigMap", handlers.name)) if handlers is not None else None
        if source is not None and newest.code is not None:
            copy = code_name(worker.name, newest.code)
            self._note_uses(worker, [*wish.uses, *wish.database, Reference("ConfigMap", copy, None, optional=False)])
            await self._copies.put(worker, source, newest.code)
            done.handlers = {"configMap": copy, "resourceVersion": source["metadata"]["resourceVersion"]}
        return newest


def handlers_shown(resource: Manifest, worker: Worker, done: Applied) -> Manifest | None:
    """The version of the handlers for the status: the last one stays until the Deployment has a new one."""
    if worker.spec.handlers.config_map is None:
        return None
    last: Manifest | None = resource.get("status", {}).get("handlers")
    on_trial = done.trial is not None and done.trial.differs
    return last if done.blocked is not None or done.handlers is None or on_trial else done.handlers
