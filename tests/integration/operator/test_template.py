"""The pod template of a spec: unknown fields are dropped, and fields of a pod arrive in the Deployment."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from integration.operator.api import RefusedError
from integration.operator.samples import NAME, account, resource, with_label

if TYPE_CHECKING:
    from integration.operator.api import Api, Object

GENERATOR = Path(__file__).parents[3] / "crds" / "generate.py"

POD: Object = {
    "nodeSelector": {"disk": "ssd"},
    "priorityClassName": "high",
    "serviceAccountName": "shop",
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["db"]}],
    "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
    "tolerations": [{"key": "batch", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
    "securityContext": {"fsGroup": 65532, "supplementalGroups": [1, 2], "seccompProfile": {"type": "RuntimeDefault"}},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "shop"}}},
                }
            ]
        },
    },
    "initContainers": [
        {
            "name": "proxy",
            "image": "proxy:1",
            "restartPolicy": "Always",
            "startupProbe": {"tcpSocket": {"port": 8000}},
            "resources": {"limits": {"cpu": 1, "memory": "64Mi"}},
        }
    ],
    "containers": [
        {"name": "worker", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}},
        {
            "name": "sidecar",
            "image": "sidecar:1",
            "command": ["run", "--all"],
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "ports": [{"name": "http", "containerPort": 8000}],
            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
            "securityContext": {"capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
        },
    ],
    "volumes": [
        {"name": "scratch", "emptyDir": {}},
        {"name": "claimed", "persistentVolumeClaim": {"claimName": "data"}},
        {
            "name": "own",
            "ephemeral": {
                "volumeClaimTemplate": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                }
            },
        },
        {"name": "parts", "projected": {"sources": [{"downwardAPI": {"items": []}}]}},
    ],
}


def nested(levels: int) -> str:
    """A resource whose template has that many levels of a field that no pod has, as JSON."""
    head, _, tail = json.dumps(resource(template={"spec": {"deep": 0}})).partition('"deep": 0')
    return head + '"deep": ' + '{"a": ' * levels + "0" + "}" * levels + tail


def test_the_schema_of_the_template_is_the_api_servers_own(cluster: Api) -> None:
    spec = importlib.util.spec_from_file_location("generate_crd", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    text = generate.DEFINITION.read_text()
    fields = generate.pod_spec(cluster.raw("/openapi/v3/api/v1"))
    assert generate.definition(text, fields) == text, "run: python crds/generate.py FILE"


@pytest.mark.parametrize("levels", [1, 900, 9_980, 9_990])
def test_deeply_nested_unknown_fields_are_never_stored(api: Api, levels: int) -> None:
    """9,990 levels stopped all watches of an operator on Python 3.13; 9,993 made every listing fail."""
    api.post("RochallorWorker", nested(levels))
    assert api.the("RochallorWorker", NAME)["spec"]["template"] == {"spec": {}}
    assert len(api.every("RochallorWorker")) == 1


def test_json_that_the_api_server_cannot_parse_is_refused(api: Api) -> None:
    with pytest.raises(RefusedError, match="exceeded max depth"):
        api.post("RochallorWorker", nested(9_999))


@pytest.mark.parametrize(
    "field",
    [
        {"template": {"deep": {"a": 1}}},
        {"template": {"metadata": {"deep": {"a": 1}}}},
        {"resources": {"deep": {"a": 1}}},
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name", "deep": {"a": 1}}}}]},
        {"envFrom": [{"secretRef": {"name": "a", "deep": {"a": 1}}}]},
        {"imagePullSecrets": [{"name": "a", "deep": {"a": 1}}]},
        {"autoscaling": {"maxReplicas": 2, "behavior": {"scaleDown": {"deep": {"a": 1}}}}},
        {"template": {"spec": {"affinity": {"nodeAffinity": {"deep": {"a": 1}}}}}},
        {"template": {"spec": {"containers": [{"name": "a", "resources": {"deep": {"a": 1}}}]}}},
    ],
)
def test_no_section_of_a_spec_keeps_unknown_fields(api: Api, field: Object) -> None:
    assert "deep" not in json.dumps(api.create(resource(**field), dryRun="All")["spec"])


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"nodeSelektor": {"disk": "ssd"}}, 'unknown field "spec.template.spec.nodeSelektor"'),
        ({"nodeSelector": {"zone": 1}}, "spec.template.spec.nodeSelector.zone in body must be of type string"),
    ],
)
def test_a_typo_is_refused_when_it_is_applied(api: Api, spec: Object, sentence: str) -> None:
    """As kubectl applies it: with strict validation."""
    with pytest.raises(RefusedError, match=re.escape(sentence)):
        api.create(resource(template={"spec": spec}), fieldValidation="Strict")


@pytest.mark.parametrize(
    "field",
    [
        {"env": [{"name": "A", "value": "x" * 32_769}]},
        {"template": {"metadata": {"labels": {"a": "x" * 64}}}},
        {"template": {"metadata": {"annotations": {"a": "x" * 32_769}}}},
        {"template": {"spec": {"containers": [{"name": "a", "args": ["x" * 32_769]}]}}},
    ],
)
def test_long_texts_are_refused(api: Api, field: Object) -> None:
    with pytest.raises(RefusedError, match="Too long: may not be more than"):
        api.create(resource(**field), dryRun="All")


def test_a_template_is_stored_as_it_is_written(api: Api) -> None:
    template = {"metadata": {"annotations": {"a": "b"}}, "spec": POD}
    live = api.create(resource(template=template), fieldValidation="Strict")
    assert live["spec"]["template"] == template


def test_null_is_stored_because_it_removes_a_field(api: Api) -> None:
    pod = {"securityContext": None, "nodeSelector": {"a": None}, "containers": [{"name": "worker", "args": None}]}
    live = api.create(resource(template={"spec": pod}), fieldValidation="Strict", dryRun="All")
    assert live["spec"]["template"]["spec"] == pod


@pytest.mark.usefixtures("operator")
def test_a_template_arrives_in_the_deployment(api: Api) -> None:
    api.create(with_label(account("shop")))
    api.create(resource(template={"spec": POD}))
    live = api.until_the("Deployment", NAME, lambda _: True)["spec"]["template"]["spec"]
    for field in ("nodeSelector", "priorityClassName", "hostAliases", "tolerations", "affinity", "dnsConfig"):
        assert live[field] == POD[field]
    assert [item["name"] for item in live["containers"]] == ["worker", "sidecar"]
    assert live["containers"][0]["args"] == ["run"]
    assert live["initContainers"][0]["restartPolicy"] == "Always"
    assert {"tmp", "scratch", "claimed", "own", "parts"} <= {item["name"] for item in live["volumes"]}
