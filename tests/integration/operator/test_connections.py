"""Workers that name an EngineConnection: what changes with it, and what doesn't."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import Api, condition, has
from integration.operator.samples import (
    NAME,
    connected,
    connection,
    environment,
    make_available,
    pod_annotations,
    resource,
    secret,
)
from waiting import wait_until

if TYPE_CHECKING:
    from integration.operator.api import Object
    from integration.operator.process import Operator

pytestmark = [pytest.mark.usefixtures("operator"), pytest.mark.timeout(900)]

KIND = "EngineConnection"
URL = "ROCHALLOR_ENGINE_URL"
WORKERS = 200


def url(deployment: Object | None) -> str | None:
    """Where the pods of a Deployment reach the engine."""
    return None if deployment is None else environment(deployment).get(URL)


def test_an_edit_reaches_each_of_many_workers_once_and_a_rotated_token_none(api: Api) -> None:
    token = {"tokenSecret": {"name": "gateway", "key": "token"}}
    api.create(secret("gateway", token="1"))
    api.create(connection(url="https://old", **token))
    for number in range(WORKERS):
        api.create(connected(f"worker-{number}", replicas=0))
    witness: Object = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "gateway", "key": "token"}}}]}
    api.create(connected("witness", replicas=0, **witness))

    def urls() -> list[str | None]:
        return [url(live) for live in api.every("Deployment")]

    wait_until(lambda: urls() == ["https://old"] * (WORKERS + 1), within=300, every=1)
    api.until_the(KIND, "main", lambda live: live.get("status", {}).get("workers") == WORKERS + 1)
    before = {live["metadata"]["name"]: live for live in api.every("Deployment")}

    api.patch("Secret", "gateway", {"stringData": {"token": "2"}})
    rolled = pod_annotations(before.pop("witness"))
    api.until_the("Deployment", "witness", lambda live: pod_annotations(live) != rolled)
    api.delete("RochallorWorker", "witness")
    api.until("Deployment", "witness", lambda live: live is None)
    assert {live["metadata"]["name"]: live["metadata"]["generation"] for live in api.every("Deployment")} == {
        name: live["metadata"]["generation"] for name, live in before.items()
    }

    began = time.monotonic()
    api.patch(KIND, "main", {"spec": {"engine": {"url": "https://new"}}})
    wait_until(lambda: urls() == ["https://new"] * WORKERS, within=300, every=0.5)
    print(f"{WORKERS} workers have the new address after {time.monotonic() - began:.0f} s")
    after = {live["metadata"]["name"]: live["metadata"]["generation"] for live in api.every("Deployment")}
    assert after == {name: live["metadata"]["generation"] + 1 for name, live in before.items()}


def test_a_connection_that_is_missing_is_waited_for(api: Api) -> None:
    api.create(connected())
    sentence = "EngineConnection 'main' does not exist: create it"
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConnectionNotFound", sentence))
    assert has("Ready", "False", "ConnectionNotFound")(live)
    assert api.get("Deployment", NAME) is None
    api.create(connection())
    assert url(api.until_the("Deployment", NAME, lambda _: True)) == "http://engine:8080"
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))


def test_one_that_is_deleted_in_use_leaves_the_pods_alone(api: Api) -> None:
    api.create(connection())
    api.create(connected(autoscaling={"maxReplicas": 3}))
    make_available(api, 1)
    live = api.until_the(KIND, "main", lambda live: condition(live, "Reachable").get("status") == "True")
    assert live["status"]["workers"] == 1
    assert condition(live, "Reachable")["message"] == "1 of 1 workers reaches the engine"
    before = api.until_the("RochallorWorker", NAME, has("Ready", "True", "Available"))
    deployment = api.the("Deployment", NAME)

    api.delete(KIND, "main")
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConnectionNotFound"))
    for kind in ("Ready", "Progressing"):
        assert condition(live, kind) == condition(before, kind)
    assert live["status"]["autoscaler"] == before["status"]["autoscaler"]
    api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 8}})
    live = api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConnectionNotFound"))
    assert condition(live, "Ready")["status"] == "True"
    assert api.the("Deployment", NAME)["metadata"]["generation"] == deployment["metadata"]["generation"]

    api.create(connection())
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))
    assert environment(api.the("Deployment", NAME))["ROCHALLOR_PARALLELISM"] == "8"


def test_what_a_connection_lacks_is_named(api: Api) -> None:
    """As well what only both together get wrong."""
    api.create(connection(url=None, grpcTarget="engine:9090"))
    api.create(connected())
    sentence = "with EngineConnection 'main', spec: write engine.url"
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "InvalidSpec", sentence))
    api.patch("RochallorWorker", NAME, {"spec": {"transport": "grpc"}})
    live = api.until_the("Deployment", NAME, lambda _: True)
    assert environment(live)["ROCHALLOR_ENGINE_GRPC_TARGET"] == "engine:9090"
    api.patch("RochallorWorker", NAME, {"spec": {"engine": {"url": "http://own:1"}, "transport": "rest"}})
    api.until_the("Deployment", NAME, lambda live: url(live) == "http://own:1")


def test_a_worker_that_takes_over_its_own_values_is_not_rolled(api: Api) -> None:
    api.create(resource())
    before = api.until_the("Deployment", NAME, lambda _: True)
    api.until_the("RochallorWorker", NAME, has("Degraded", "False", "Healthy"))
    api.create(connection())
    api.patch("RochallorWorker", NAME, {"spec": {"engine": None, "engineRef": {"name": "main"}}})
    api.until_the(KIND, "main", lambda live: live.get("status", {}).get("workers") == 1)
    assert api.the("Deployment", NAME)["metadata"]["generation"] == before["metadata"]["generation"]
    api.patch("RochallorWorker", NAME, {"spec": {"engine": resource()["spec"]["engine"], "engineRef": None}})
    live = api.until_the(KIND, "main", lambda live: live["status"]["workers"] == 0)
    assert condition(live, "Reachable")["message"] == "no worker names it"


def test_the_status_is_written_once(api: Api, operator: Operator) -> None:
    """It is an event of the connection, which must not lead to another one."""
    api.create(connection())
    api.create(connected(replicas=0))
    live = api.until_the(KIND, "main", lambda live: live.get("status", {}).get("workers") == 1)
    assert live["status"]["observedGeneration"] == 1
    api.until_the("RochallorWorker", NAME, has("Ready", "True", "ScaledToZero"))
    patched = {
        kind: api.patch(kind, name, {"metadata": {"annotations": {"a": "b"}}})["metadata"]["resourceVersion"]
        for kind, name in (("RochallorWorker", NAME), (KIND, "main"))
    }
    wait_until(lambda: operator.metric("rochallor_operator_queue_depth") == 0)
    assert api.the("RochallorWorker", NAME)["metadata"]["resourceVersion"] == patched["RochallorWorker"]
    assert api.the(KIND, "main")["metadata"]["resourceVersion"] == patched[KIND]
