"""What exists after a resource is created, edited, scaled, suspended and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from integration.operator.api import condition, has
from integration.operator.samples import (
    NAME,
    code,
    code_version,
    environment,
    make_available,
    pods,
    replicas,
    resource,
    until_available,
    with_config_map,
)

if TYPE_CHECKING:
    from integration.operator.api import Api, Object

pytestmark = pytest.mark.usefixtures("operator")


def deleted(live: Object | None) -> bool:
    return live is None


def test_a_resource_becomes_a_deployment_and_a_service(api: Api) -> None:
    made = api.create(resource(replicas=2, jobTypes=["charge-card", "refund"]))
    deployment = api.until_the("Deployment", NAME, lambda _: True)
    service = api.until_the("Service", f"{NAME}-metrics", lambda _: True)
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "worker:test"
    assert environment(deployment)["ROCHALLOR_JOB_TYPES"] == "charge-card,refund"
    assert environment(deployment)["ROCHALLOR_HANDLERS"] == "shop.handlers:registry"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["ports"][0]["port"] == 9090
    for child in (deployment, service):
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (made["metadata"]["uid"], True)
        assert child["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "rochallor-operator"
    live = api.until_the("RochallorWorker", NAME, has("Ready", "False", "RollingOut", "0 of 2 pods"))
    assert live["status"]["selector"] == f"rochallor.io/worker={NAME}"
    assert live["status"]["transport"] == "rest"

    live = make_available(api, 2)
    assert has("Ready", "True", "Available", "2 of 2 pods available")(live)
    assert has("Progressing", "False", "Available")(live)
    assert has("Degraded", "False", "Healthy")(live)
    counts = [live["status"][name] for name in ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")]
    assert counts == [2, 2, 2, 2]
    assert live["status"]["observedGeneration"] == live["metadata"]["generation"]


def test_nothing_is_kept_on_the_users_resource(api: Api) -> None:
    api.create(resource())
    metadata = make_available(api, 1)["metadata"]
    assert "annotations" not in metadata
    assert "finalizers" not in metadata
    managers = {(entry["manager"], entry.get("subresource")) for entry in metadata["managedFields"]}
    assert ("rochallor-operator", "status") in managers
    assert ("rochallor-operator", None) not in managers


def test_an_edit_rolls_the_pods(api: Api) -> None:
    api.create(resource())
    make_available(api, 1)
    (old,) = pods(api)
    api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})
    api.until_the("RochallorWorker", NAME, has("Ready", "False", "RollingOut"))
    live = api.the("Deployment", NAME)
    assert environment(live)["ROCHALLOR_PARALLELISM"] == "8"
    api.until_the("Deployment", NAME, lambda seen: seen["status"].get("updatedReplicas") == 1)
    assert old["metadata"]["name"] in {pod["metadata"]["name"] for pod in pods(api)}, "the old pod works until then"
    until_available(api)
    (new,) = pods(api)
    assert new["metadata"]["name"] != old["metadata"]["name"]


def test_a_variable_that_is_no_longer_asked_for_is_removed(api: Api) -> None:
    api.create(resource(env=[{"name": "STAGE", "value": "test"}], handlerTimeout="20s"))
    assert environment(api.until_the("Deployment", NAME, lambda _: True))["STAGE"] == "test"
    api.patch("RochallorWorker", NAME, {"spec": {"env": None, "handlerTimeout": None}})
    live = api.until_the("Deployment", NAME, lambda seen: "STAGE" not in environment(seen))
    assert "ROCHALLOR_HANDLER_TIMEOUT" not in environment(live)


def test_scale_by_its_subresource(api: Api) -> None:
    api.create(resource())
    make_available(api, 1)
    api.patch("RochallorWorker", NAME, {"spec": {"replicas": 3}}, "/scale")
    live = make_available(api, 3)
    assert has("Ready", "True", "Available", "3 of 3")(live)
    scale = api.the("RochallorWorker", f"{NAME}/scale")
    assert scale["spec"]["replicas"] == 3
    assert scale["status"] == {"replicas": 3, "selector": f"rochallor.io/worker={NAME}"}


def test_suspend_stops_all_pods_and_is_ready(api: Api) -> None:
    api.create(resource(replicas=2))
    make_available(api, 2)
    api.patch("RochallorWorker", NAME, {"spec": {"suspend": True}})
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "Suspended"))
    api.until_the("Deployment", NAME, replicas(0))
    live = api.until_the("RochallorWorker", NAME, has("Progressing", "False", "Suspended"))
    assert live["spec"]["replicas"] == 2
    api.patch("RochallorWorker", NAME, {"spec": {"suspend": False}})
    api.until_the("Deployment", NAME, replicas(2))


def test_scaled_to_zero_is_ready(api: Api) -> None:
    api.create(resource(replicas=0))
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "ScaledToZero"))


GC_S = 150
"""The garbage collector of a new cluster notices a new CRD only after half a minute, and then collects gradually."""


@pytest.mark.timeout(700)
@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_delete_removes_everything(api: Api, propagation: str) -> None:
    api.create(resource())
    make_available(api, 1)
    (pod,) = pods(api)
    api.delete("RochallorWorker", NAME, propagation)
    children = {"Deployment": NAME, "Service": f"{NAME}-metrics", "Pod": pod["metadata"]["name"]}
    for kind, name in ({"RochallorWorker": NAME} | children).items():
        api.until(kind, name, deleted, timeout=GC_S)


def test_handlers_from_a_config_map(api: Api) -> None:
    api.create(code())
    api.create(with_config_map())
    deployment = api.until_the("Deployment", NAME, lambda _: True)
    assert environment(deployment)["ROCHALLOR_HANDLERS"] == "handlers:registry"
    assert environment(deployment)["PYTHONPATH"] == "/handlers"
    pod = deployment["spec"]["template"]["spec"]
    assert pod["volumes"][1]["configMap"]["name"] == f"{NAME}-code-{code_version(deployment)}"
    assert pod["containers"][0]["volumeMounts"][1]["mountPath"] == "/handlers"
    make_available(api, 1)

    api.patch("ConfigMap", "code", {"data": {"handlers.py": "registry = None"}})
    api.until_the("Deployment", NAME, lambda live: code_version(live) != code_version(deployment), timeout=30)
    api.until_the("Deployment", NAME, lambda live: live["status"].get("updatedReplicas") == 1)


def test_a_change_of_the_config_maps_labels_rolls_nothing(api: Api) -> None:
    api.create(code())
    api.create(with_config_map())
    make_available(api, 1)
    generation = api.the("Deployment", NAME)["metadata"]["generation"]
    api.patch("ConfigMap", "code", {"metadata": {"labels": {"team": "shop"}}})
    api.patch("RochallorWorker", NAME, {"spec": {"replicas": 2}})  # the next reconcile is for both
    live = api.until_the("Deployment", NAME, lambda seen: seen["spec"]["replicas"] == 2)
    assert live["metadata"]["generation"] == generation + 1


def test_children_left_behind_by_a_deleted_resource_are_taken_over(api: Api) -> None:
    api.create(resource())
    make_available(api, 1)
    api.delete("RochallorWorker", NAME, "Orphan")
    api.until("RochallorWorker", NAME, deleted, timeout=GC_S)
    orphan = api.until_the("Deployment", NAME, lambda live: not live["metadata"].get("ownerReferences"))
    made = api.create(resource())
    live = api.until_the("Deployment", NAME, lambda seen: seen["metadata"].get("ownerReferences"))
    assert live["metadata"]["uid"] == orphan["metadata"]["uid"]
    assert live["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert (
        condition(api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available")), "Degraded")["status"]
        == "False"
    )
