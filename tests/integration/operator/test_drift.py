"""What others do to the children is put right, as far as it is ours."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from integration.operator.api import has
from integration.operator.samples import NAME, hpa, make_available, replicas, resource

if TYPE_CHECKING:
    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")

BUDGET: dict[str, Any] = {"disruptionBudget": {"maxUnavailable": 1}}
CHILDREN = [
    ("Deployment", NAME),
    ("Service", f"{NAME}-metrics"),
    ("ServiceAccount", f"{NAME}-worker"),
    ("PodDisruptionBudget", NAME),
]


@pytest.fixture
def deployment(api: Api) -> Object:
    """The Deployment of a worker at rest with two pods."""
    api.create(resource(replicas=2, env=[{"name": "STAGE", "value": "test"}], **BUDGET))
    make_available(api, 2)
    return api.the("Deployment", NAME)


def wanted(live: Object, deployment: Object) -> bool:
    """Whether everything we decide is as it was."""
    parts = ("labels", "ownerReferences")
    same = all(live["metadata"].get(part) == deployment["metadata"].get(part) for part in parts)
    return same and bool(live["spec"] == deployment["spec"])


@pytest.mark.parametrize(("kind", "name"), CHILDREN)
@pytest.mark.usefixtures("deployment")
def test_a_deleted_child_is_back_within_two_seconds(api: Api, kind: str, name: str) -> None:
    old = api.the(kind, name)["metadata"]["uid"]
    started = time.monotonic()
    api.delete(kind, name)
    api.until(kind, name, lambda live: live is not None and live["metadata"]["uid"] != old, timeout=5)
    assert time.monotonic() - started <= 2


def container(**change: Any) -> Object:
    return {"spec": {"template": {"spec": {"containers": [{"name": "worker", **change}]}}}}


DRIFT: dict[str, Object] = {
    "replicas": {"spec": {"replicas": 5}},
    "a variable": container(env=[{"name": "ROCHALLOR_PARALLELISM", "value": "1"}]),
    "a user's variable": container(env=[{"name": "STAGE", "value": "production"}]),
    "a removed variable": container(env=[{"name": "ROCHALLOR_ENGINE_URL", "$patch": "delete"}]),
    "the image": container(image="worker:other"),
    "the probe": container(livenessProbe=None),
    "a label": {"metadata": {"labels": {"rochallor.io/worker": None}}},
    "the label that is watched": {"metadata": {"labels": {"app.kubernetes.io/managed-by": "someone"}}},
    "all labels": {"metadata": {"labels": {"$patch": "replace"}}},
    "the owner": {"metadata": {"ownerReferences": [{"$patch": "replace"}]}},
}


@pytest.mark.parametrize("case", DRIFT)
def test_drift_is_put_right(api: Api, deployment: Object, case: str) -> None:
    changed = api.patch("Deployment", NAME, DRIFT[case], strategic=True)
    assert not wanted(changed, deployment), "the test changed nothing"
    api.until_the("Deployment", NAME, lambda live: wanted(live, deployment), timeout=5)


OTHERS: dict[str, tuple[str, str, Object]] = {
    "Service": (
        f"{NAME}-metrics",
        "spec",
        {"spec": {"selector": {"rochallor.io/worker": "other"}}},
    ),
    "ServiceAccount": (f"{NAME}-worker", "automountServiceAccountToken", {"automountServiceAccountToken": True}),
    "PodDisruptionBudget": (NAME, "spec", {"spec": {"maxUnavailable": 2}}),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.usefixtures("deployment")
def test_drift_of_another_child_is_put_right(api: Api, kind: str) -> None:
    name, part, change = OTHERS[kind]
    before = api.the(kind, name)[part]
    assert api.patch(kind, name, change)[part] != before
    api.until_the(kind, name, lambda live: live[part] == before, timeout=5)


def test_an_autoscaler_is_put_right_and_back_within_two_seconds(api: Api) -> None:
    kind = "HorizontalPodAutoscaler"
    api.create(resource(autoscaling=hpa(1, 5)))
    old = api.until_the(kind, NAME, lambda _: True)
    make_available(api, 1)
    api.patch(kind, NAME, {"spec": {"maxReplicas": 50}})
    api.until_the(kind, NAME, lambda live: live["spec"]["maxReplicas"] == 5, timeout=5)
    started = time.monotonic()
    api.delete(kind, NAME)
    uid = old["metadata"]["uid"]
    api.until(kind, NAME, lambda live: live is not None and live["metadata"]["uid"] != uid, timeout=5)
    assert time.monotonic() - started <= 2


def test_what_others_own_stays(api: Api, deployment: Object) -> None:
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    theirs = {
        "metadata": {"labels": {"team": "shop"}, "annotations": {"note": "kept"}},
        "spec": {
            "template": {
                "metadata": {"annotations": restarted},
                "spec": {"containers": [{"name": "sidecar", "image": "proxy:1"}]},
            }
        },
    }
    api.patch("Deployment", NAME, theirs, strategic=True)
    # Then one of our own fields changes, and the whole wish is applied.
    api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})
    api.until_the("RochallorWorker", NAME, has("Progressing", "True", "RollingOut"))
    live = api.the("Deployment", NAME)
    assert live["metadata"]["labels"] == deployment["metadata"]["labels"] | {"team": "shop"}
    assert live["metadata"]["annotations"]["note"] == "kept"
    assert live["spec"]["template"]["metadata"]["annotations"] == restarted
    names = [item["name"] for item in live["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["sidecar", "worker"]
    api.until("Deployment", NAME, replicas(3))
