"""Limits that all pods share: each pod can read how many of them are ready, and no pod is replaced for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.operator.samples import NAME, play_kubelet, pods, replicas, resource, until_available
from rochallor_operator.names import READY_PODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")

SCALE = f"{NAME}-scale"
SHARED: Object = {"limits": [{"jobType": "charge-card", "perSecond": 5, "scope": "resource"}]}
KIND = "RochallorWorker"


def of(number: int) -> Callable[[Object], bool]:
    """A test for `until_the`: the ConfigMap has this number."""
    return lambda live: bool(live["data"] == {"pods": f"{number}"})


def annotated(number: int) -> Callable[[Object], bool]:
    """A test for `until_the`: the pod has this number."""
    return lambda live: bool(live["metadata"].get("annotations", {}).get(READY_PODS) == f"{number}")


def set_ready(api: Api, pod: Object, *, ready: bool) -> None:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"phase": "Running", "conditions": [condition]}
    api.patch("Pod", pod["metadata"]["name"], {"status": status}, "/status")


def versions(api: Api) -> list[str]:
    """Of everything that a reconcile could write, and the Deployment's controller."""
    every = [(KIND, NAME), ("Deployment", NAME), ("ConfigMap", SCALE)]
    return [api.the(kind, name)["metadata"]["resourceVersion"] for kind, name in every]


def test_pods_see_how_many_are_ready_and_none_is_replaced(api: Api, grant: Callable[[], None]) -> None:
    grant()
    made = api.create(resource(replicas=3, minReadySeconds=0, **SHARED))
    first = api.until_the("Deployment", NAME, replicas(3))
    live = api.until_the("ConfigMap", SCALE, of(1))
    (owner,) = live["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (made["metadata"]["uid"], True)
    one, *others = pods(api)
    set_ready(api, one, ready=True)
    api.until_the("ConfigMap", SCALE, of(1))
    for pod in others:
        set_ready(api, pod, ready=True)
    api.until_the("ConfigMap", SCALE, of(3))
    until_available(api)

    before = versions(api)
    for pod in pods(api):
        api.until_the("Pod", pod["metadata"]["name"], annotated(3))
    api.create(resource("other"))
    until_available(api, "other")
    assert versions(api) == before, "an annotated pod is no reason to write anything"

    set_ready(api, one, ready=False)
    api.until_the("ConfigMap", SCALE, of(2))
    for pod in pods(api):
        api.until_the("Pod", pod["metadata"]["name"], annotated(2))
    set_ready(api, one, ready=True)
    api.patch(KIND, NAME, {"spec": {"replicas": 4}}, "/scale")
    api.until_the("Deployment", NAME, replicas(4))
    play_kubelet(api)
    api.until_the("ConfigMap", SCALE, of(4))
    assert api.the("Deployment", NAME)["spec"]["template"] == first["spec"]["template"]
    assert len(api.every("ReplicaSet")) == 2, "one of each resource"


def test_the_number_is_restored(api: Api) -> None:
    api.create(resource(**SHARED))
    live = api.until_the("ConfigMap", SCALE, of(1))
    api.patch("ConfigMap", SCALE, {"data": {"pods": "100"}})
    api.until_the("ConfigMap", SCALE, of(1), timeout=10)
    api.delete("ConfigMap", SCALE)
    again = api.until(
        "ConfigMap", SCALE, lambda found: found and found["metadata"]["uid"] != live["metadata"]["uid"], timeout=10
    )
    assert again is not None
    assert of(1)(again)


def test_the_config_map_is_removed_when_no_limit_needs_it(api: Api) -> None:
    api.create(resource(minReadySeconds=0, **SHARED))
    until_available(api)
    api.the("ConfigMap", SCALE)
    alone = [SHARED["limits"][0] | {"scope": "pod"}]
    api.patch(KIND, NAME, {"spec": {"limits": alone}})
    api.until_the("Deployment", NAME, lambda live: live["status"].get("replicas") == 2)
    assert of(1)(api.the("ConfigMap", SCALE)), "the old pod reads it"
    until_available(api)
    api.until("ConfigMap", SCALE, lambda live: live is None)
