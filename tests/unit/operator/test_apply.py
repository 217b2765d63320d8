"""What an apply reports, and what is forgotten with a resource.

(Its other rules are tested through reconciles: test_reconcile.py, test_copies.py, test_addons.py, test_policy.py.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from rochallor_operator.apply import Applied, Applier
from rochallor_operator.desired.objects import desired
from rochallor_operator.errors import KubernetesError
from rochallor_operator.names import ObjectRef
from rochallor_operator.policy import Policy
from unit.operator.fake_kube import KEY, RELEASE, FakeKube, reconciler, roll_out
from unit.operator.samples import resource, worker
from unit.operator.test_copies import HANDLERS, QUOTA, Kube, code
from unit.operator.test_desired import LIMITED

if TYPE_CHECKING:
    from rochallor_operator.cluster.kube import Kube as Cluster
    from rochallor_operator.names import Manifest
    from rochallor_operator.reconcile import Reconciler


async def applied(kube: FakeKube, **spec: Any) -> tuple[Applier, Applied]:
    """A first apply, and its result."""
    applier = Applier(cast("Cluster", kube), RELEASE, Policy())
    live = kube.live.get("Deployment")
    return applier, await applier.apply(desired(worker(**spec), RELEASE.worker_image, live), live)


@pytest.mark.parametrize(
    ("spec", "refused", "number"),
    [
        (LIMITED, {}, "1"),
        (LIMITED, {"ConfigMap": KubernetesError(403, "cannot patch")}, None),
        ({}, {}, None),
    ],
    ids=["written", "refused", "no limit needs it"],
)
async def test_pods_are_told_only_a_number_that_they_can_read(
    spec: Manifest, refused: dict[str, KubernetesError], number: str | None
) -> None:
    _, done = await applied(FakeKube(refused), **spec)
    assert done.ready_pods == number


async def test_a_refused_copy_of_the_code_is_a_problem_and_blocks_the_pods() -> None:
    _, done = await applied(Kube({"ConfigMap": QUOTA}), **HANDLERS)
    assert [problem.reason for problem in done.problems] == ["QuotaExceeded"]
    assert done.blocked is done.problems[0]
    assert (done.deployment, done.handlers) == (None, None)


async def test_a_refused_copy_of_a_secret_is_why_there_are_no_pods_and_not_that_it_is_missing() -> None:
    kube = FakeKube({"Secret": KubernetesError(403, "cannot create")})
    wish = worker(engine={"url": "http://e", "tokenSecret": {"name": "payments-engine-copy", "key": "token"}})
    applier = Applier(cast("Cluster", kube), RELEASE, Policy())
    done = await applier.apply(desired(wish, RELEASE.worker_image, None, lent={"engine": {"token": "dA=="}}), None)
    assert done.blocked is done.problems[0]
    assert [problem.reason for problem in done.problems] == ["Forbidden", "SecretNotFound"]


async def test_a_change_of_a_copy_concerns_its_worker_as_one_of_the_source_does() -> None:
    """A copy that someone deletes is recreated at once."""
    kube = Kube()
    applier, _ = await applied(kube, **HANDLERS)
    for name in ("code", kube.mounted):
        assert applier.users.of(ObjectRef("ConfigMap", "shop", name)) == [KEY]
    applier.forget(KEY)
    assert applier.users.of_any("ConfigMap") == []


async def recreate(kube: FakeKube, work: Reconciler, **spec: Any) -> None:
    """Delete the resource, and create one of the same name."""
    del kube.live["RochallorWorker"]
    await work.reconcile(KEY)
    kube.live["RochallorWorker"] = resource(**spec)


async def test_unused_copies_are_looked_for_again_once_a_resource_is_recreated() -> None:
    kube = Kube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    kube.roll_out()
    await work.reconcile(KEY)
    unused = kube.maps[kube.mounted]["metadata"] | {"name": "payments-code-0", "uid": "unused"}
    kube.maps["payments-code-0"] = {"metadata": unused}
    await work.reconcile(KEY)
    assert "payments-code-0" in kube.maps, "nothing is listed without a rollout"
    await recreate(kube, work, **HANDLERS)
    await work.reconcile(KEY)
    kube.roll_out()
    await work.reconcile(KEY)
    assert kube.copies == [kube.mounted]


async def test_an_unused_number_of_pods_is_looked_for_again_once_a_resource_is_recreated() -> None:
    limited = FakeKube(**LIMITED)
    await reconciler(limited).reconcile(KEY)
    kube = FakeKube()
    work = reconciler(kube)
    await work.reconcile(KEY)
    roll_out(kube)
    await work.reconcile(KEY)
    kube.live["ConfigMap"] = limited.live["ConfigMap"]
    await work.reconcile(KEY)
    assert "ConfigMap" in kube.live, "it is looked for once"
    await recreate(kube, work)
    await work.reconcile(KEY)
    roll_out(kube)
    await work.reconcile(KEY)
    assert "ConfigMap" not in kube.live


async def test_the_pause_after_a_change_ends_with_its_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rochallor_operator.apply.monotonic", lambda: 1000.0)
    kube = Kube()
    work = reconciler(kube)
    for text in ("1", "2", "3"):
        kube.edit(text)
        await work.reconcile(KEY)
    assert kube.maps[kube.mounted]["data"] == code("2")["data"], "the third is held back"
    await recreate(kube, work, **HANDLERS)
    await work.reconcile(KEY)
    assert kube.maps[kube.mounted]["data"] == code("3")["data"]
