"""Puts in place what a canary rollout needs beside the stable Deployment, as the recorded state says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rochallor_operator.children import is_ours
from rochallor_operator.desired.canary import canary, pods_for, revision_of, share_of, slots
from rochallor_operator.errors import DegradedError, collect
from rochallor_operator.names import Key, canary_name
from rochallor_operator.rollout.gate import fraction
from rochallor_operator.rollout.revisions import Revisions
from rochallor_operator.rollout.state import WITH_CANARY, Phase, State

if TYPE_CHECKING:
    from rochallor_operator.children import Children
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.worker import Worker


@dataclass
class Trial:
    """The canary rollout as it is after an apply."""

    state: State | None
    """The recorded one, None at first."""
    revision: str | None = None
    """The version that the spec asks for; None when it isn't known, or may not be tried yet."""
    stable: Manifest | None = None
    """The stable Deployment, None when it isn't as it should be."""
    canary: Manifest | None = None
    """The canary's Deployment, if it is of this version."""
    refused: DegradedError | None = None
    """Why it isn't in place."""
    share: str = ""
    """Its share of the slots."""

    @property
    def differs(self) -> bool:
        """Whether the stable pods have another version than the spec asks for."""
        return self.state is not None and self.state.stable != self.revision


class Canaries:
    """Applies and removes canaries, and gives the stable Deployment its template."""

    def __init__(self, kube: Kube, children: Children, key: bytes) -> None:
        self._kube = kube
        self._children = children
        self._revisions: Final = Revisions(kube, key)

    def forget(self, key: Key) -> None:
        """Drop what is remembered about a deleted worker."""
        self._revisions.forget(key)

    def is_new(self, worker: Worker, asked: Manifest, state: State) -> bool:
        """Whether the Deployment that the spec asks for has another version than was last tried."""
        return self._revisions.of(worker, asked["spec"]["template"]) != state.revision

    async def with_stable_template(self, worker: Worker, asked: Manifest, trial: Trial, *, known: bool) -> Manifest:
        """The Deployment that the spec asks for, with the template that the stable pods should have.

        `known`: it has the newest content of what its pods use, so that its version may be tried. Raises DegradedError
        when the template of the stable pods is lost.
        """
        template, state = asked["spec"]["template"], trial.state
        if known:
            await self._revisions.keep(worker, template)
            trial.revision = self._revisions.of(worker, template)
        if state is None or state.stable == trial.revision:
            return asked
        kept = await self._revisions.template(worker, state.stable)
        return asked | {"spec": asked["spec"] | {"template": kept}}

    async def put(self, worker: Worker, asked: Manifest, stable: Manifest | None, trial: Trial) -> None:
        """Put the canary in place, or remove it when there should be none; stable is the live stable Deployment."""
        state = trial.state
        if state is not None:
            kept = {state.stable, state.revision, trial.revision}
            await self._revisions.prune(worker, frozenset(version for version in kept if version is not None))
        if state is None or state.phase not in WITH_CANARY or worker.spec.suspend:
            await self.remove(worker)
            return
        live = await self._kube.get("Deployment", worker.namespace, canary_name(worker.name))
        if state.phase == Phase.PROMOTING and live is None:
            return  # promoted by a person after it was removed
        if trial.revision == state.revision and stable is not None:
            step = worker.spec.rollout.chosen_steps[min(state.step, len(worker.spec.rollout.chosen_steps) - 1)]
            size = slots(asked["spec"]["template"])
            beside = stable["spec"].get("replicas", 1) * slots(stable["spec"]["template"])
            pods = pods_for(fraction(step.share), beside, size)
            refused: list[DegradedError] = []
            with collect(refused):
                wish = canary(worker.name, asked, state.revision, pods)
                live = await self._children.put(worker, wish, live)
            trial.refused = next(iter(refused), None)
            trial.share = f"{float(share_of(pods * size, beside)):.0%} of the slots"
        if live is not None and is_ours(live, worker.name, worker.uid) and revision_of(live) == state.revision:
            trial.canary = live

    async def remove(self, worker: Worker) -> None:
        """Remove the canary, if there is one."""
        await self._children.remove(worker, "Deployment", canary_name(worker.name))

    async def end(self, worker: Worker) -> None:
        """Remove everything, because the worker has another strategy."""
        await self.remove(worker)
        await self._revisions.prune(worker, frozenset())
