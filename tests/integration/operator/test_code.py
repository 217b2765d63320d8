"""Handlers in a ConfigMap, on a real API server with its Deployment controller."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import RefusedError, condition, has
from integration.operator.samples import (
    NAME,
    code,
    code_version,
    make_available,
    pods,
    until_available,
    with_config_map,
)
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration.operator.api import Api, Object

pytestmark = [pytest.mark.usefixtures("operator"), pytest.mark.timeout(400)]

KIND = "RochallorWorker"


def quick() -> Object:
    """A resource whose pods are available as soon as they are ready."""
    wish = with_config_map()
    wish["spec"]["minReadySeconds"] = 0
    return wish


def mounted(spec: Object) -> str:
    """Which ConfigMap a pod, or the pods of a template, mount."""
    return next(str(item["configMap"]["name"]) for item in spec["volumes"] if item["name"] == "handlers")


def edit(api: Api, text: str) -> str:
    """Change the code; the ConfigMap's version."""
    return str(api.patch("ConfigMap", "code", {"data": {"handlers.py": text}})["metadata"]["resourceVersion"])


def taken_in(version: str) -> Callable[[Object], bool]:
    """A test for `until`: the status names this version of the ConfigMap."""
    return lambda live: bool(live.get("status", {}).get("handlers", {}).get("resourceVersion") == version)


def test_an_old_pod_keeps_its_code_and_reverted_code_is_the_old_version(api: Api) -> None:
    """O10: an old pod that was drained during a bad rollout restarted with the bad code."""
    api.create(code("good"))
    api.create(quick())
    make_available(api, 1)
    deployment = api.the("Deployment", NAME)
    good = mounted(deployment["spec"]["template"]["spec"])
    (old,) = pods(api)
    edit(api, "bad")
    live = api.until_the("Deployment", NAME, lambda seen: code_version(seen) != code_version(deployment))
    bad = mounted(live["spec"]["template"]["spec"])
    assert mounted(old["spec"]) == good != bad

    api.delete("Pod", old["metadata"]["name"])
    wait_until(
        lambda: len(pods(api)) == 2 and old["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in pods(api)}
    )
    assert {mounted(pod["spec"]) for pod in pods(api)} == {good, bad}, "the old ReplicaSet's new pod has its old code"
    assert api.the("ConfigMap", good)["data"] == {"handlers.py": "good"}
    with pytest.raises(RefusedError, match="immutable"):
        api.patch("ConfigMap", good, {"data": {"handlers.py": "bad"}})

    edit(api, "good")
    api.until_the("Deployment", NAME, lambda seen: mounted(seen["spec"]["template"]["spec"]) == good)
    api.until_the(KIND, NAME, has("Degraded", "False", "Healthy"))
    until_available(api)
    assert {mounted(pod["spec"]) for pod in pods(api)} == {good}
    assert len(api.every("ReplicaSet")) == 2, "the first one works again"


def test_an_edit_can_be_waited_for(api: Api) -> None:
    """As in docs/operator.md: for the version first, then for Ready, which is not the earlier one."""
    api.create(code("1"))
    api.create(quick())
    until_available(api)
    version = edit(api, "2")
    live = api.until_the(KIND, NAME, taken_in(version))
    assert condition(live, "Ready")["status"] == "False"
    assert condition(live, "Ready")["reason"] == "RollingOut"
    until_available(api)
    assert {mounted(pod["spec"]) for pod in pods(api)} == {api.the(KIND, NAME)["status"]["handlers"]["configMap"]}
    labelled = api.patch("ConfigMap", "code", {"metadata": {"labels": {"team": "shop"}}})["metadata"]["resourceVersion"]
    live = api.until_the(KIND, NAME, taken_in(labelled))
    assert condition(live, "Ready")["status"] == "True", "nothing has to be rolled out"


def test_a_hundred_changes(api: Api) -> None:
    """O15: they made 95 patches of the Deployment and 107 ReplicaSets, and the last good version was forgotten."""
    api.create(code("0"))
    api.create(quick())
    until_available(api)
    began = monotonic()
    for number in range(100):
        version = edit(api, f"{number}")
    took = monotonic() - began
    api.until_the(KIND, NAME, taken_in(version), timeout=90)
    version = edit(api, "last")  # in the pause after that
    api.until_the(KIND, NAME, has("Ready", "False", "RollingOut", "has changed again: it is rolled out within"))
    api.until_the(KIND, NAME, taken_in(version), timeout=90)
    until_available(api)
    sets = api.every("ReplicaSet")
    print(f"100 changes in {took:.1f} s made {len(sets) - 1} ReplicaSets")
    assert len(sets) - 1 <= 5
    assert api.the("ConfigMap", mounted(pods(api)[0]["spec"]))["data"] == {"handlers.py": "last"}


def test_copies_are_deleted_with_their_replica_sets(api: Api) -> None:
    api.create(code("0"))
    api.create(quick())
    until_available(api)
    api.patch("Deployment", NAME, {"spec": {"revisionHistoryLimit": 1}})
    for number in range(1, 4):
        version = edit(api, f"{number}")
        api.until_the(KIND, NAME, taken_in(version), timeout=90)
        until_available(api)
        api.patch(KIND, NAME, {"spec": {"parallelism": number}})  # no pause before the next edit
        until_available(api)
    used = {mounted(item["spec"]["template"]["spec"]) for item in api.every("ReplicaSet")}
    api.until_the(KIND, NAME, has("Degraded", "False", "Healthy"))
    copies = {item["metadata"]["name"] for item in api.every("ConfigMap")} - {"code", "kube-root-ca.crt"}
    assert used <= copies
    assert len(copies) <= 3, "one may be left until the next change of the code"


def test_a_quota_that_has_no_room_for_a_copy(api: Api) -> None:
    api.create(code("0"))
    api.create(quick())
    until_available(api)
    before = api.the("Deployment", NAME)["spec"]["template"]
    hard = {"count/configmaps": len(api.every("ConfigMap"))}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": hard}}
    api.create(quota)
    api.until_the("ResourceQuota", "small", lambda live: live.get("status", {}).get("used"))
    edit(api, "1")
    live = api.until_the(KIND, NAME, has("Ready", "False", "QuotaExceeded", "exceeded quota: small"))
    assert has("Degraded", "True", "QuotaExceeded", "configmaps")(live)
    assert api.the("Deployment", NAME)["spec"]["template"] == before
    api.delete("ResourceQuota", "small")
    api.until_the("Deployment", NAME, lambda seen: seen["spec"]["template"] != before, timeout=150)


def test_a_deleted_copy_is_recreated(api: Api) -> None:
    api.create(code("0"))
    api.create(quick())
    until_available(api)
    copy = mounted(api.the("Deployment", NAME)["spec"]["template"]["spec"])
    uid = api.the("ConfigMap", copy)["metadata"]["uid"]
    api.delete("ConfigMap", copy)
    back = api.until("ConfigMap", copy, lambda live: live is not None and live["metadata"]["uid"] != uid, timeout=30)
    assert back is not None
    assert back["data"] == {"handlers.py": "0"}


def test_the_largest_config_map_there_can_be(api: Api) -> None:
    """With bytes too, and under the longest name that a resource may have."""
    name = "w" * 55
    big = code("x" * 700_000) | {"binaryData": {"model.bin": "AAAA" * 80_000}}
    api.create(big)
    wish = quick()
    wish["metadata"]["name"] = name
    api.create(wish)
    live = api.until_the("Deployment", name, lambda _: True)
    copy = api.the("ConfigMap", mounted(live["spec"]["template"]["spec"]))
    assert (copy["data"], copy["binaryData"]) == (big["data"], big["binaryData"])
