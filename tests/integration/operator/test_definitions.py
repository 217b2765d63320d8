"""Resource definitions of before connections, of this release, and of before again: workers live through both."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.controlplane import ControlPlane
from integration.operator.api import Api, RefusedError, has
from integration.operator.conftest import established, listed
from integration.operator.process import SYSTEM, Operator
from integration.operator.samples import connected, connection, environment, resource
from rochallor_operator.names import KIND
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.operator.api import Object

pytestmark = pytest.mark.timeout(600)

CRDS = {
    crd["metadata"]["name"]: crd
    for crd in map(yaml.safe_load, (file.read_text() for file in (Path(__file__).parents[3] / "crds").glob("*.yaml")))
}
WORKERS = CRDS.pop("rochallorworkers.rochallor.io")
URL = "http://engine:8080"


def before_connections() -> Object:
    """The definition of RochallorWorkers as it was before them."""
    text = json.dumps(WORKERS)
    for condition in ("has(self.engineRef) || ", " || has(self.engineRef)"):
        text = text.replace(condition, "")
    definition: Object = json.loads(text)
    (version,) = definition["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["engineRef"]
    spec["required"].append("engine")
    kafka = spec["properties"]["kafka"]
    kafka["required"] = ["bootstrapServers"]
    kafka["properties"]["securityProtocol"]["default"] = "PLAINTEXT"
    return definition


@pytest.fixture
def bare() -> Iterator[ControlPlane]:
    """A control plane of the test's own, without definitions."""
    with ControlPlane() as running:
        yield running


def test_workers_live_through_an_upgrade_and_a_downgrade(bare: ControlPlane) -> None:
    with Api(bare.kubeconfig) as api, Operator(bare.kubeconfig, worker_image="worker:test") as operator:
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})  # of the key of its hashes
        define(api, before_connections())
        operator.event("watching")
        api.create(resource("plain"))
        api.create(resource("kafka", transport="kafka", kafka={"bootstrapServers": "kafka:9092"}))
        plain, kafka = (api.until_the("Deployment", name, lambda _: True) for name in ("plain", "kafka"))
        stored = {name: api.the(KIND, name)["spec"] for name in ("plain", "kafka")}
        assert stored["kafka"]["kafka"]["securityProtocol"] == "PLAINTEXT"

        redefine(api, WORKERS)
        assert {name: api.the(KIND, name)["spec"] for name in stored} == stored
        for before in (plain, kafka):
            assert edited(api, before)["spec"]["template"] == before["spec"]["template"]
        api.create(connected("connected"))
        api.until_the(KIND, "connected", has("Degraded", "True", "ConnectionNotFound", "CRD"))
        for definition in CRDS.values():
            define(api, definition)
        api.create(connection(url=URL))
        joined = api.until_the("Deployment", "connected", lambda _: True)
        assert environment(joined)["ROCHALLOR_ENGINE_URL"] == URL

        redefine(api, before_connections())  # helm keeps the other definitions
        assert "engineRef" not in api.the(KIND, "connected")["spec"]
        with pytest.raises(RefusedError, match=r"spec\.engine: Required value"):
            api.patch(KIND, "connected", {"spec": {"parallelism": 8}})
        for before in (plain, kafka):
            assert edited(api, before)["spec"]["template"] == before["spec"]["template"]
        assert api.the("Deployment", "connected")["spec"] == joined["spec"]
        api.patch(KIND, "connected", {"spec": {"engine": {"url": URL}}})
        assert edited(api, joined)["spec"]["template"] == joined["spec"]["template"]


def define(api: Api, definition: Object) -> None:
    name = api.create(definition)["metadata"]["name"]
    api.until_the("CustomResourceDefinition", name, established)
    wait_until(partial(listed, api, definition["spec"]["names"]["kind"]))


def redefine(api: Api, definition: Object) -> None:
    """Replace the definition of RochallorWorkers, and wait until the API server goes by it."""
    api.replace("CustomResourceDefinition", definition["metadata"]["name"], {"spec": definition["spec"]})

    def used() -> Any:
        schema = api.raw("/openapi/v3/apis/rochallor.io/v1alpha1")["components"]["schemas"]
        spec = schema["io.rochallor.v1alpha1.RochallorWorker"]["properties"]["spec"]
        (version,) = definition["spec"]["versions"]
        wanted = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        return spec["properties"].keys() == wanted.keys() and listed(api, KIND)

    wait_until(used)


def edited(api: Api, before: Object) -> Object:
    """The Deployment once the operator has seen an edit of its worker that concerns no pod."""
    name = before["metadata"]["name"]
    seconds = api.the("Deployment", name)["spec"]["progressDeadlineSeconds"] + 1
    api.patch(KIND, name, {"spec": {"progressDeadlineSeconds": seconds}})
    return api.until_the("Deployment", name, lambda live: live["spec"]["progressDeadlineSeconds"] == seconds)
