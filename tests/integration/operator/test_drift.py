"""Changes by others to our fields of the children are reverted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from integration.operator.api import has
from integration.operator.samples import NAME, hpa, make_available, pod_annotations, replicas, resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")

BUDGET: dict[str, Any] = {"disruptionBudget": {"maxUnavailable": 1}}
CHILDREN = [
    ("Deployment", NAME),
    ("Service", f"{NAME}-metrics"),
    ("ServiceAccount", f"{NAME}-worker"),
    ("PodDisruptionBudget", NAME),
]
BY_EVENT_S = 30
"""A worker at rest is not reconciled until an event comes, and children are read again after 60 s: what is repaired
sooner was seen by a watch. How soon, a busy machine decides."""


@pytest.fixture
def deployment(api: Api) -> Object:
    """The Deployment of a worker at rest with two pods."""
    api.create(resource(replicas=2, env=[{"name": "STAGE", "value": "test"}], **BUDGET))
    make_available(api, 2)
    return api.the("Deployment", NAME)


def wanted(live: Object, deployment: Object) -> bool:
    """Whether all our fields are as they were."""
    parts = ("labels", "ownerReferences")
    same = all(live["metadata"].get(part) == deployment["metadata"].get(part) for part in parts)
    return same and bool(live["spec"] == deployment["spec"])


@pytest.mark.parametrize(("kind", "name"), CHILDREN)
@pytest.mark.usefixtures("deployment")
def test_a_deleted_child_is_back_at_once(api: Api, kind: str, name: str) -> None:
    old = api.the(kind, name)["metadata"]["uid"]
    api.delete(kind, name)
    api.until(kind, name, lambda live: live is not None and live["metadata"]["uid"] != old, timeout=BY_EVENT_S)


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
def test_drift_is_reverted(api: Api, deployment: Object, case: str) -> None:
    changed = api.patch("Deployment", NAME, DRIFT[case], strategic=True)
    assert not wanted(changed, deployment), "the test changed nothing"
    api.until_the("Deployment", NAME, lambda live: wanted(live, deployment), timeout=BY_EVENT_S)


EITHER_OR: dict[str, Object] = {
    "another source of a volume": {
        "spec": {
            "template": {
                "spec": {"volumes": [{"name": "tmp", "emptyDir": None, "hostPath": {"path": "/"}}]},
            }
        }
    },
    "a variable from elsewhere": container(
        env=[{"name": "STAGE", "value": None, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    ),
    "another port of the same name": container(
        ports=[{"containerPort": 9090, "$patch": "delete"}, {"name": "metrics", "containerPort": 9191}]
    ),
    "another way to probe": container(livenessProbe={"httpGet": None, "exec": {"command": ["true"]}}),
    "another seccomp profile": {
        "spec": {
            "template": {
                "spec": {"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "mine.json"}}},
            }
        }
    },
}
"""Changes that the API server accepts, but not together with our fields."""


@pytest.mark.parametrize("case", EITHER_OR)
def test_drift_that_excludes_our_fields_is_reverted(api: Api, deployment: Object, case: str) -> None:
    api.patch("Deployment", NAME, {"metadata": {"annotations": {"note": "kept"}}})
    changed = api.patch("Deployment", NAME, EITHER_OR[case], strategic=True)
    assert not wanted(changed, deployment), "the test changed nothing"
    live = api.until_the("Deployment", NAME, lambda live: wanted(live, deployment), timeout=BY_EVENT_S)
    assert live["metadata"]["annotations"]["note"] == "kept"
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))
    # Nothing of it is left that a later apply could not remove.
    api.patch("RochallorWorker", NAME, {"spec": {"env": None, "journal": False}})
    api.until_the(
        "Deployment", NAME, lambda live: "STAGE" not in str(live["spec"]) and "journal" not in str(live["spec"])
    )


@pytest.mark.usefixtures("deployment")
def test_others_containers_and_a_wrong_spec_are_not_taken_for_drift(api: Api) -> None:
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "proxy:1"}]}}}}
    api.patch("Deployment", NAME, sidecar, strategic=True)
    api.patch("Deployment", NAME, EITHER_OR["another source of a volume"], strategic=True)
    live = api.until_the("Deployment", NAME, lambda live: "hostPath" not in str(live["spec"]), timeout=BY_EVENT_S)
    assert "sidecar" in str(live["spec"])
    too_much = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    api.patch("RochallorWorker", NAME, {"spec": {"resources": too_much}})
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "InvalidSpec", "must be less than or equal"))
    api.patch("Deployment", NAME, EITHER_OR["another source of a volume"], strategic=True)
    api.patch("RochallorWorker", NAME, {"spec": {"resources": None}})
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))
    # The event of the Deployment may come after that of the resource.
    api.until_the("Deployment", NAME, lambda live: "hostPath" not in str(live["spec"]), timeout=BY_EVENT_S)


def test_drift_under_an_autoscaler_leaves_the_replicas_alone(api: Api) -> None:
    api.create(resource(autoscaling=hpa(1, 9)))
    make_available(api, 1)
    api.patch("Deployment", NAME, {"spec": {"replicas": 7}}, "/scale")
    api.patch("Deployment", NAME, EITHER_OR["another source of a volume"], strategic=True)
    live = api.until_the("Deployment", NAME, lambda live: "hostPath" not in str(live["spec"]), timeout=BY_EVENT_S)
    assert live["spec"]["replicas"] == 7


def test_a_change_that_can_not_be_reverted_is_reported(api: Api) -> None:
    """Someone made a Deployment with our labels, but a selector of its own, which nobody can ever change."""
    other = {"app": "other"}
    spec = {
        "selector": {"matchLabels": other},
        "template": {"metadata": {"labels": other}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}},
    }
    labels = {"app.kubernetes.io/managed-by": "rochallor-operator", "rochallor.io/worker": NAME}
    metadata = {"name": NAME, "labels": labels}
    api.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    api.create(resource())
    words = ("Deployment 'payments' has a change by someone else that can't be reverted", "field is immutable")
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "Drifted", *words))


OTHERS: dict[str, tuple[str, str, Object]] = {
    "Service": (
        f"{NAME}-metrics",
        "spec",
        {"spec": {"selector": {"rochallor.io/worker": "other"}}},
    ),
    "Service with another port of the same name": (
        f"{NAME}-metrics",
        "spec",
        {"spec": {"ports": [{"name": "metrics", "port": 9191, "targetPort": "metrics"}]}},
    ),
    "PodDisruptionBudget with the opposite": (NAME, "spec", {"spec": {"maxUnavailable": None, "minAvailable": 1}}),
    "ServiceAccount": (f"{NAME}-worker", "automountServiceAccountToken", {"automountServiceAccountToken": True}),
    "PodDisruptionBudget": (NAME, "spec", {"spec": {"maxUnavailable": 2}}),
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.usefixtures("deployment")
def test_drift_of_another_child_is_reverted(api: Api, case: str) -> None:
    kind = case.split(maxsplit=1)[0]
    name, part, change = OTHERS[case]
    before = api.the(kind, name)[part]
    assert api.patch(kind, name, change)[part] != before
    api.until_the(kind, name, lambda live: live[part] == before, timeout=BY_EVENT_S)


def test_drift_of_an_identity_is_reverted(api: Api) -> None:
    """Without the pods being replaced; annotations of others stay, and with the field ours go."""
    account, ours = f"{NAME}-worker", {"iam.gke.io/gcp-service-account": "a@shop"}

    def annotations(wanted: dict[str, str] | None) -> Callable[[Object], bool]:
        return lambda live: live["metadata"].get("annotations") == wanted

    api.create(resource(serviceAccount={"annotations": ours}))
    before = make_available(api, 1)["status"]
    api.until_the("ServiceAccount", account, annotations(ours))
    template = api.the("Deployment", NAME)["spec"]["template"]
    api.patch("ServiceAccount", account, {"metadata": {"annotations": dict.fromkeys(ours, "b") | {"note": "kept"}}})
    api.until_the("ServiceAccount", account, annotations(ours | {"note": "kept"}), timeout=BY_EVENT_S)
    assert api.the("Deployment", NAME)["spec"]["template"] == template
    assert api.the("RochallorWorker", NAME)["status"] == before
    api.replace("RochallorWorker", NAME, {"spec": resource()["spec"]})
    api.until_the("ServiceAccount", account, annotations({"note": "kept"}))
    api.until_the("Deployment", NAME, lambda live: pod_annotations(live) == {})


def test_an_autoscaler_is_reverted_and_restored_at_once(api: Api) -> None:
    kind = "HorizontalPodAutoscaler"
    api.create(resource(autoscaling=hpa(1, 5)))
    old = api.until_the(kind, NAME, lambda _: True)
    make_available(api, 1)
    api.patch(kind, NAME, {"spec": {"maxReplicas": 50}})
    api.until_the(kind, NAME, lambda live: live["spec"]["maxReplicas"] == 5, timeout=BY_EVENT_S)
    api.delete(kind, NAME)
    uid = old["metadata"]["uid"]
    api.until(kind, NAME, lambda live: live is not None and live["metadata"]["uid"] != uid, timeout=BY_EVENT_S)


def test_fields_of_others_stay(api: Api, deployment: Object) -> None:
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
