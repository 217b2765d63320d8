"""Which fields of others are taken over so that an apply removes them. (That it does: tests/integration.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rochallor_operator.desired.companions import service
from rochallor_operator.desired.deployment import deployment
from rochallor_operator.drift import claimed
from unit.operator.samples import worker

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

WISH = deployment(worker(), "worker:1")
WORKER = 'k:{"name":"worker"}'


def entry(manager: str, fields: Manifest, **more: str) -> Manifest:
    operation = "Apply" if manager == "rochallor-operator" else "Update"
    version = {"apiVersion": "apps/v1", "fieldsType": "FieldsV1"}
    return version | {"manager": manager, "operation": operation, "fieldsV1": fields} | more


def pod(fields: Manifest) -> Manifest:
    return {"f:spec": {"f:template": {"f:spec": fields}}}


OURS = entry("rochallor-operator", pod({"f:dnsPolicy": {}}))


def taken(fields: Manifest, wish: Manifest = WISH, **more: str) -> tuple[Manifest, Manifest]:
    """Which fields of an editor become ours, and which stay theirs."""
    theirs = entry("editor", fields, **{"apiVersion": wish["apiVersion"]} | more)
    ours, *others = claimed({"metadata": {"managedFields": [theirs, OURS | {"fieldsV1": {}}]}}, wish)
    assert (ours["manager"], ours["operation"]) == ("rochallor-operator", "Apply")
    return ours["fieldsV1"], others[0]["fieldsV1"] if others else {}


@pytest.mark.parametrize(
    "fields",
    [
        pod({"f:volumes": {'k:{"name":"tmp"}': {"f:hostPath": {"f:path": {}, "f:type": {}}}}}),
        pod({"f:containers": {WORKER: {"f:env": {'k:{"name":"ROCHALLOR_TRANSPORT"}': {"f:valueFrom": {"f:x": {}}}}}}}),
        pod({"f:containers": {WORKER: {"f:livenessProbe": {"f:exec": {"f:command": {}}}}}}),
        pod({"f:containers": {WORKER: {"f:ports": {'k:{"containerPort":1,"protocol":"TCP"}': {".": {}}}}}}),
        pod({"f:securityContext": {"f:seccompProfile": {"f:localhostProfile": {}}}}),
    ],
)
def test_fields_within_ours_become_ours(fields: Manifest) -> None:
    assert taken(fields) == (fields, {})


@pytest.mark.parametrize(
    "fields",
    [
        {"f:metadata": {"f:annotations": {".": {}, "f:note": {}}, "f:labels": {"f:team": {}}}},
        {"f:spec": {"f:replicas": {}, "f:paused": {}}},
        {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}},
        pod({"f:nodeSelector": {"f:disk": {}}}),
        pod({"f:containers": {'k:{"name":"sidecar"}': {".": {}, "f:image": {}}}}),
        pod({"f:containers": {WORKER: {"f:lifecycle": {"f:preStop": {}}}}}),
        pod({"f:containers": {WORKER: {"f:env": {'k:{"name":"INJECTED"}': {".": {}, "f:value": {}}}}}}),
        pod({"f:containers": {WORKER: {"f:volumeMounts": {'k:{"mountPath":"/x"}': {".": {}}}}}}),
        pod({"f:volumes": {'k:{"name":"injected"}': {"f:secret": {"f:secretName": {}}}}}),
        pod({"f:containers": {WORKER: {"f:image": {}}}}),
    ],
)
def test_fields_beside_ours_stay_theirs(fields: Manifest) -> None:
    assert taken(fields) == ({}, fields)


def test_nobody_adds_to_other_specs() -> None:
    fields: Manifest = {"f:spec": {"f:ports": {'k:{"port":9191,"protocol":"TCP"}': {".": {}}}, "f:externalName": {}}}
    assert taken(fields, service(worker())) == (fields, {})


@pytest.mark.parametrize("more", [{"subresource": "scale"}, {"apiVersion": "apps/v1beta2"}])
def test_other_subresources_and_versions_are_left_alone(more: Manifest) -> None:
    fields = pod({"f:volumes": {'k:{"name":"tmp"}': {"f:hostPath": {}}}})
    assert taken(fields, **more) == ({}, fields)


def test_both_are_separated_in_one_entry_and_joined_with_ours() -> None:
    wrong: Manifest = {"f:volumes": {'k:{"name":"tmp"}': {"f:hostPath": {}}}}
    theirs = entry("editor", pod(wrong | {"f:nodeSelector": {"f:disk": {}}}))
    ours, left = claimed({"metadata": {"managedFields": [OURS, theirs]}}, WISH)
    assert ours["fieldsV1"] == pod({"f:dnsPolicy": {}} | wrong)
    assert left["fieldsV1"] == pod({"f:nodeSelector": {"f:disk": {}}})
