"""Connections of the whole cluster: for which namespaces, with copies of which Secrets, and by which operators."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import yaml

import pages
from integration.operator.api import Api, Object, RefusedError, condition, has
from integration.operator.conftest import ACCOUNT, CHART, established, helm, released
from integration.operator.process import SYSTEM, Operator
from integration.operator.samples import (
    NAME,
    connected,
    connection,
    environment,
    make_available,
    resource,
    secret,
    until_available,
    with_label,
)
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.controlplane import ControlPlane

pytestmark = pytest.mark.timeout(900)

KIND = "ClusterEngineConnection"
COPY = f"{NAME}-engine-copy"
URL = "ROCHALLOR_ENGINE_URL"


@pytest.fixture
def name(cluster: Api) -> Iterator[str]:
    """Name of a connection, which is removed after the test."""
    chosen = f"test-{uuid4().hex[:8]}"
    yield chosen
    if cluster.get(KIND, chosen) is not None:
        cluster.delete(KIND, chosen)


@pytest.fixture
def system(cluster: Api) -> Iterator[Api]:
    """The operator's own namespace."""
    with Api(cluster.kubeconfig, SYSTEM) as api:
        yield api


@pytest.fixture
def serving(kubeconfig: Path) -> Iterator[Operator]:
    """An operator as the chart installs it. (That of a module would also serve the tests that start another.)"""
    with Operator(kubeconfig, worker_image="worker:test") as running:
        running.event("watching")
        yield running


@pytest.fixture
def copying(cluster: Api, control_plane: ControlPlane, kubeconfig: Path) -> Iterator[Operator]:
    """An operator that may copy Secrets, with the rights that the chart gives it for that."""
    _ = cluster  # the chart is installed
    helm(control_plane, "upgrade", ACCOUNT, str(CHART), "--set", "clusterConnections.copySecrets=true")
    try:
        with Operator(kubeconfig, worker_image="worker:test", copy_secrets="true") as running:
            running.event("watching")
            yield running
    finally:
        helm(control_plane, "upgrade", ACCOUNT, str(CHART), "--reset-values")


def for_namespaces(name: str, selector: Object, **engine: object) -> Object:
    """A connection of the cluster."""
    wish = connection(name, KIND, **engine)
    wish["spec"]["namespaceSelector"] = selector
    return wish


def of(name: str) -> Object:
    """A worker that names it."""
    wish = connected(kind=KIND)
    wish["spec"]["engineRef"]["name"] = name
    return wish


def held(live: Object) -> dict[str, str]:
    """What a Secret holds."""
    return {key: base64.b64decode(value).decode() for key, value in live["data"].items()}


@pytest.mark.usefixtures("serving")
def test_the_labels_of_a_namespace_decide(cluster: Api, api: Api, name: str) -> None:
    cluster.create(for_namespaces(name, {"matchLabels": {"team": "shop"}}))
    api.create(of(name))
    not_allowed = has("Degraded", "True", "ConnectionNotAllowed", name, "namespaceSelector")
    api.until_the("RochallorWorker", NAME, not_allowed)
    assert api.get("Deployment", NAME) is None

    cluster.patch("Namespace", api.namespace, {"metadata": {"labels": {"team": "shop"}}})
    make_available(api, 1)
    cluster.until_the(KIND, name, lambda live: condition(live, "Reachable").get("status") == "True")
    before = api.the("Deployment", NAME)["metadata"]["generation"]
    cluster.patch("Namespace", api.namespace, {"metadata": {"labels": {"team": None}}})
    live = api.until_the("RochallorWorker", NAME, not_allowed)
    assert has("Ready", "True", "Available")(live)
    assert api.the("Deployment", NAME)["metadata"]["generation"] == before

    cluster.patch(KIND, name, {"spec": {"namespaceSelector": {"matchLabels": None}, "engine": {"url": "http://new"}}})
    api.until_the("Deployment", NAME, lambda live: environment(live)[URL] == "http://new")


@pytest.mark.usefixtures("serving")
def test_an_operator_that_may_not_copy_secrets_says_so(cluster: Api, api: Api, name: str) -> None:
    cluster.create(for_namespaces(name, {}, tokenSecret={"name": "gateway", "key": "token"}))
    api.create(of(name))
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConnectionNotAllowed", "copySecrets"))


@pytest.mark.usefixtures("copying")
def test_the_keys_in_use_are_copied_and_follow_their_source(cluster: Api, api: Api, system: Api, name: str) -> None:
    system.create(secret(name, token="1", other="private"))
    cluster.create(for_namespaces(name, {}, tokenSecret={"name": name, "key": "token"}))
    api.create(of(name))
    sentence = "needs the label rochallor.io/for-workers=true"
    api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConnectionNotAllowed", name, sentence))
    system.patch("Secret", name, {"metadata": {"labels": {"rochallor.io/for-workers": "true"}}})
    api.until_the("Secret", COPY, lambda live: held(live) == {"token": "1"})
    until_available(api)
    before = api.the("Deployment", NAME)
    (source,) = [
        one["secret"]
        for volume in before["spec"]["template"]["spec"]["volumes"]
        for one in volume.get("projected", {}).get("sources", [])
    ]
    assert source["name"] == COPY

    system.patch("Secret", name, {"stringData": {"token": "2", "other": "still private"}})
    api.until_the("Secret", COPY, lambda live: held(live) == {"token": "2"})
    api.patch("Secret", COPY, {"stringData": {"token": "drifted"}})
    api.until_the("Secret", COPY, lambda live: held(live) == {"token": "2"})
    second = f"{name}-2"
    system.create(with_label(secret(second, key="3")))
    cluster.patch(KIND, name, {"spec": {"engine": {"tokenSecret": {"name": second, "key": "key"}}}})
    api.until_the("Secret", COPY, lambda live: held(live) == {"token": "3"})
    assert api.the("Deployment", NAME)["metadata"]["generation"] == before["metadata"]["generation"]

    cluster.patch(KIND, name, {"spec": {"engine": {"tokenSecret": None}}})
    api.until_the("Deployment", NAME, lambda live: COPY not in str(live["spec"]))
    until_available(api)  # older pods still read it
    api.until("Secret", COPY, lambda live: live is None)
    for source_name in (name, second):
        system.delete("Secret", source_name)


def test_the_policy_of_the_page_keeps_addresses_out_of_workers(cluster: Api, api: Api, name: str) -> None:
    page = (pages.ROOT / "docs" / "connections.md").read_text(encoding="utf-8")
    [text] = [text for _, text in pages.BLOCK.findall(page) if "ValidatingAdmissionPolicyBinding" in text]
    policy, binding = yaml.safe_load_all(text)
    for one in (policy, binding):
        one["metadata"]["name"] = name
    binding["spec"]["policyName"] = name
    binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0]["values"] = [api.namespace]

    def refusal(wish: Object) -> str:
        try:
            api.create(wish)
        except RefusedError as error:
            return str(error)
        api.delete("RochallorWorker", NAME)
        wait_until(lambda: api.get("RochallorWorker", NAME) is None)
        return ""

    own = connected(kind=KIND)
    own["spec"] |= {"engine": {"url": "http://own"}}
    telling = connected(kind=KIND)
    telling["spec"] |= {"telemetry": {"endpoint": "http://own:4318"}}
    with_token = connected(kind=KIND)
    with_token["spec"] |= {"engine": {"tokenSecret": {"name": "gateway", "key": "token"}}}
    for one in (policy, binding):
        cluster.create(one)
    try:
        wait_until(lambda: "write engineRef with kind ClusterEngineConnection" in refusal(resource()))
        for wish in (own, telling):
            assert "write no addresses, which the connection has" in refusal(wish)
        for wish in (connected(kind=KIND), with_token):
            assert not refusal(wish)
    finally:
        for one in (binding, policy):
            cluster.delete(one["kind"], name)


def test_an_operator_of_one_namespace_asks_for_none(
    cluster: Api, control_plane: ControlPlane, api: Api, name: str
) -> None:
    cluster.create(for_namespaces(name, {}))
    with released(control_plane, cluster, api.namespace) as start, start() as operator:
        api.create(of(name))
        sentence = "use an EngineConnection"
        api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConnectionNotAllowed", sentence))
        api.create(connection())
        api.patch("RochallorWorker", NAME, {"spec": {"engineRef": {"name": "main", "kind": "EngineConnection"}}})
        api.until_the("Deployment", NAME, lambda _: True)
        api.until_the("EngineConnection", "main", lambda live: live.get("status", {}).get("workers") == 1)
        asked = operator.http("/metrics").text
        assert f'kind="{KIND}",verb' not in asked
        assert 'kind="Namespace",verb' not in asked
        assert "orbidden" not in str(operator.lines)


def test_a_cluster_with_older_definitions_has_its_workers_and_learns_the_kinds_later(
    cluster: Api, control_plane: ControlPlane, api: Api, kubeconfig: Path
) -> None:
    names = ["engineconnections.rochallor.io", "clusterengineconnections.rochallor.io"]
    for definition in names:
        cluster.delete("CustomResourceDefinition", definition)
        cluster.until("CustomResourceDefinition", definition, lambda live: live is None)
    try:
        with Operator(kubeconfig, worker_image="worker:test") as operator:
            operator.event("watching")
            api.create(connected())
            sentence = "the cluster has no EngineConnections: install this release's CRDs"
            api.until_the("RochallorWorker", NAME, has("Degraded", "True", "ConnectionNotFound", sentence))
            helm(control_plane, "upgrade", ACCOUNT, str(CHART), "--reset-values")
            for definition in names:
                cluster.until_the("CustomResourceDefinition", definition, established)
            api.create(connection())
            api.until_the("Deployment", NAME, lambda _: True, timeout=180)
            operator.event("watching", 2)
            api.patch("EngineConnection", "main", {"spec": {"engine": {"url": "http://new"}}})
            api.until_the("Deployment", NAME, lambda live: environment(live)[URL] == "http://new")
    finally:
        helm(control_plane, "upgrade", ACCOUNT, str(CHART), "--reset-values")
