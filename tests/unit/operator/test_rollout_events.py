"""Whatever happens during canary rollouts, and wherever the operator is killed: the same end, and nothing unproven."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.desired.deployment import deployment
from rochallor_operator.rollout.gate import Seen
from rochallor_operator.rollout.revisions import Revisions
from rochallor_operator.rollout.state import Counts, State
from unit.operator.fake_cluster import CANARY, KEY, RESOURCE, STABLE, FakeCluster, Killed
from unit.operator.samples import worker

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube
    from rochallor_operator.names import Key, Manifest
    from rochallor_operator.reconcile import Reconciler

PLAN = {"strategy": "Canary", "steps": [{"share": "10%", "pause": "15s"}, {"share": "50%", "pause": "15s"}]}
SECONDS = 10
"""Between two ticks."""
KINDS = {"good": Counts(100, 1), "bad": Counts(100, 30), "quiet": Counts(3, 0)}
VERSIONS = [f"{kind}:{number}" for kind in KINDS for number in (1, 2)]


def revision(image: str) -> str:
    """The version of an image's pods."""
    values = worker(image=image, rollout=PLAN)
    template = deployment(values, "worker:1")["spec"]["template"]
    return Revisions(cast("Kube", None), b"key").of(values, template)


BY_REVISION = {revision(image): image for image in VERSIONS}


class World:
    """A cluster with an operator, and the time. The pods of a version tell what its kind says."""

    def __init__(self) -> None:
        self.cluster = FakeCluster(image="good:1", replicas=2, rollout=PLAN)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.by_hand: set[str] = set()
        self.operator = self._start()
        self.settle()

    def _start(self) -> Reconciler:
        operator = self.cluster.operator()
        operator.beside.rollouts.now = lambda: self.now
        operator.beside.rollouts.counters.seen = self._seen  # type: ignore[method-assign]
        return operator

    def _seen(self, key: Key, state: State | None) -> Seen | None:
        canary = self.cluster.live.get(CANARY)
        if state is None or canary is None or not canary.get("status", {}).get("availableReplicas"):
            return None
        return Seen(KINDS[str(self.cluster.image(CANARY)).partition(":")[0]], Counts(200, 2))

    def settle(self, dies_in: int | None = None, *, after: bool = False) -> None:
        """Reconcile until nothing changes any more; the first operator may be killed."""
        self.cluster.dies_in, self.cluster.after = dies_in, after
        for _ in range(20):
            before, image, recorded = self._everything(), self.cluster.image(), self.cluster.rollout
            try:
                asyncio.run(self.operator.reconcile(KEY))
            except Killed:
                self.operator, before = self._start(), ""
            self._check(image, recorded)
            if self._everything() == before:
                self.cluster.dies_in = None
                return
        pytest.fail("it never comes to rest")

    def _check(self, image: str | None, recorded: Manifest) -> None:
        now, rollout = self.cluster.image(), self.cluster.rollout
        assert sum(kind == "Deployment" for kind, _ in self.cluster.live) <= 2
        if image is not None and now != image:
            assert recorded["phase"] == "Promoting"
            assert BY_REVISION[recorded["stableRevision"]] == now
        if rollout.get("phase") == "Promoting" and recorded["phase"] != "Promoting":
            version = BY_REVISION[rollout["revision"]]
            assert version.startswith("good") or rollout["revision"] in self.by_hand

    def _everything(self) -> str:
        return json.dumps([sorted(map(str, self.cluster.live.items()))])

    def end(self) -> Manifest:
        """What must not depend on kills."""
        conditions = self.cluster.live[RESOURCE]["status"]["conditions"]
        return {
            "rollout": self.cluster.rollout,
            "conditions": [(one["type"], one["status"], one["reason"], one["message"]) for one in conditions],
            "stable": self.cluster.live[STABLE]["spec"],
            "canary": self.cluster.live.get(CANARY, {}).get("spec"),
            "revisions": sorted(name for kind, name in self.cluster.live if kind == "ControllerRevision"),
        }

    def happen(self, event: tuple[str, Any]) -> None:
        """Let something happen that isn't the operator's doing."""
        what, value = event
        match what:
            case "edit":
                self.cluster.edit(image=value)
            case "scale":
                self.cluster.edit(replicas=value)
            case "suspend":
                self.cluster.edit(suspend=value)
            case "promote" | "abort":
                tried = self.cluster.rollout["revision"]
                self.cluster.annotate(**{what: tried})
                self.by_hand |= {tried} if what == "promote" else set()
            case "tick":
                self.now += timedelta(seconds=SECONDS)
                self.cluster.roll_out()


EVENT = st.one_of(
    st.tuples(st.just("tick"), st.none()),
    st.tuples(st.just("tick"), st.none()),
    st.tuples(st.just("edit"), st.sampled_from(VERSIONS)),
    st.tuples(st.just("scale"), st.integers(0, 5)),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.sampled_from(["promote", "abort"]), st.none()),
)
KILL = st.none() | st.tuples(st.integers(1, 30), st.booleans())


@patch("rochallor_operator.rollout.rollouts.WRITE_S", 0)
@given(st.lists(st.tuples(EVENT, KILL), max_size=12))
def test_whatever_happens_kills_change_nothing(events: list[tuple[tuple[str, Any], tuple[int, bool] | None]]) -> None:
    undisturbed, killed = World(), World()
    for event, kill in events:
        for world, dies in ((undisturbed, None), (killed, kill)):
            world.happen(event)
            world.settle(*((dies[0],) if dies else ()), after=dies is not None and dies[1])
        assert killed.end() == undisturbed.end()
    _check_the_end(killed)


def _check_the_end(world: World) -> None:
    """When nothing more happens, a good version is everywhere, and no other one is on trial unless nobody knows."""
    world.cluster.edit(suspend=False, replicas=2)
    for _ in range(12):
        world.happen(("tick", None))
        world.settle()
    image = world.cluster.live[RESOURCE]["spec"]["image"]
    aborted = world.cluster.live[RESOURCE]["metadata"].get("annotations", {}).get("rochallor.io/abort")
    phase, stable = world.cluster.rollout["phase"], world.cluster.image()
    if stable == image:
        assert phase == "Stable"
        assert CANARY not in world.cluster.live
    elif image.startswith("bad") or revision(image) == aborted:
        assert phase == "Failed"
        assert CANARY not in world.cluster.live
    else:
        assert (phase, image[:5]) == ("Waiting", "quiet")


@pytest.mark.parametrize(("pause", "writes"), [(10.0, 0), (0.0, 20)])
def test_counts_alone_are_seldom_written(pause: float, writes: int) -> None:
    world = World()
    for event in (("edit", "quiet:1"), ("tick", None)):
        world.happen(event)
        world.settle()
    world.cluster.writes.clear()
    jobs = iter(range(100))
    world.operator.beside.rollouts.counters.seen = lambda *_: Seen(Counts(next(jobs)), Counts(200))  # type: ignore[method-assign]
    with patch("rochallor_operator.rollout.rollouts.WRITE_S", pause):
        for _ in range(20):
            asyncio.run(world.operator.reconcile(KEY))
    assert world.cluster.writes == [("status", "payments")] * writes


def test_a_version_that_a_person_promotes_after_it_has_failed_needs_no_canary() -> None:
    world = World()
    for event in (("edit", "bad:1"), ("tick", None), ("tick", None)):
        world.happen(event)
        world.settle()
    assert (world.cluster.rollout["phase"], world.cluster.condition("Stalled")) == ("Failed", ("True", "CanaryFailed"))
    world.happen(("promote", None))
    world.settle()
    assert (world.cluster.rollout["phase"], CANARY in world.cluster.live) == ("Promoting", False)
    world.happen(("tick", None))
    world.settle()
    assert (world.cluster.rollout["phase"], world.cluster.image()) == ("Stable", "bad:1")


def test_a_lost_template_leaves_the_stable_pods_as_they_are() -> None:
    world = World()
    world.happen(("edit", "quiet:1"))
    world.settle()
    before = world.cluster.live[STABLE]["spec"]
    del world.cluster.live["ControllerRevision", f"payments-{revision('good:1')}"]
    world.happen(("scale", 5))
    world.settle()
    assert world.cluster.live[STABLE]["spec"] == before
    assert world.cluster.condition("Degraded") == ("True", "Drifted")
    world.happen(("edit", "good:1"))
    world.settle()
    assert world.cluster.live[STABLE]["spec"]["replicas"] == 5
    assert world.cluster.condition("Degraded")[0] == "False"


def test_a_template_that_someone_else_has_written_is_not_used() -> None:
    world = World()
    world.happen(("edit", "quiet:1"))
    world.settle()
    kept = world.cluster.live["ControllerRevision", f"payments-{revision('good:1')}"]
    kept["data"]["template"]["spec"]["containers"][0]["image"] = "evil:1"
    world.settle()
    assert world.cluster.image() == "good:1"
    assert world.cluster.condition("Degraded") == ("True", "Drifted")
