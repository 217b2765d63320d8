"""The chart of one worker: its values are the spec, and errors are refused before the cluster sees them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster import programs
from integration.operator.api import RefusedError
from integration.operator.conftest import CHART
from integration.operator.process import SYSTEM
from integration.operator.samples import hpa, resource
from rochallor_operator.desired.canary import canary
from rochallor_operator.desired.deployment import deployment
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.spec.worker import parse

if TYPE_CHECKING:
    from pathlib import Path

    from integration.operator.api import Api, Object

WORKER_CHART = CHART.with_name("rochallor-worker")
# Every kind of value: maps, lists, numbers, switches, free forms.
FULL = {
    "autoscaling": hpa() | {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}},
    "disruptionBudget": {"maxUnavailable": "50%"},
    "env": [{"name": "REGION", "value": "eu"}],
    "resources": {"limits": {"memory": "256Mi"}},
    "template": {"spec": {"nodeSelector": {"disk": "ssd"}}},
    "journal": True,
}


def helm(tmp_path: Path, *command: str, **values: object) -> subprocess.CompletedProcess[str]:
    """Run a helm command on the chart with only these values."""
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    kubernetes = ["--kube-version=1.37.0"]  # a helm that was built from source assumes a very old Kubernetes
    argv = [programs.tool("helm"), *command, str(WORKER_CHART), *kubernetes, f"--values={file}"]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def rendered(tmp_path: Path, **values: object) -> Object:
    done = helm(tmp_path, "template", "payments", **values)
    assert done.returncode == 0, done.stderr
    manifest: Object = yaml.safe_load(done.stdout)
    return manifest


def test_lint(tmp_path: Path) -> None:
    done = helm(tmp_path, "lint", "--strict", **resource()["spec"])
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize(
    "more", [{}, FULL, {"engineRef": {"name": "main"}}], ids=["what-is-required", "every-kind-of-value", "connection"]
)
def test_the_values_are_the_spec_of_a_valid_resource(tmp_path: Path, api: Api, more: Object) -> None:
    spec = resource(**more)["spec"]
    manifest = rendered(tmp_path, **spec)
    assert (manifest["metadata"]["name"], manifest["spec"]) == ("payments", spec)
    del manifest["metadata"]["namespace"]
    api.create(manifest, fieldValidation="Strict")


def test_replicas_that_kubectl_has_set_stand_in_the_way_of_helm_4(tmp_path: Path, api: Api) -> None:
    """It applies on the server, by this manager. docs/troubleshooting.md and the chart's notes say how to fix it."""
    chart = rendered(tmp_path, **resource(replicas=1)["spec"])
    del chart["metadata"]["namespace"]
    api.apply(chart, "helm")
    api.patch("RochallorWorker", "payments", {"spec": {"replicas": 3}}, "/scale")
    chart["spec"]["parallelism"] = 8
    with pytest.raises(RefusedError, match=r'conflict with ".*" with subresource "scale".*: \.spec\.replicas'):
        api.apply(chart, "helm")
    assert api.the("RochallorWorker", "payments")["spec"]["parallelism"] == 64, "nothing is applied"
    left = chart | {"spec": {field: value for field, value in chart["spec"].items() if field != "replicas"}}
    assert api.apply(left, "helm")["spec"]["replicas"] == 3
    assert api.apply(chart, "helm", force="true")["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "missing properties 'jobTypes', 'handlers'"),
        ({"jobTypes": ["a"], "handlers": {"module": "a:b"}}, "missing property 'engineRef'"),
        (resource(paralellism=8)["spec"], "additional properties 'paralellism' not allowed"),
        (resource(parallelism=0)["spec"], "minimum: got 0, want 1"),
        (resource(transport="amqp")["spec"], "value must be one of 'rest', 'grpc', 'kafka'"),
        (resource(autoscaling={"minReplicas": 1})["spec"], "missing property 'maxReplicas'"),
        (resource(jobTypes=[])["spec"], "minItems: got 0, want 1"),
    ],
)
def test_a_wrong_value_is_refused_with_a_sentence(tmp_path: Path, values: Object, sentence: str) -> None:
    done = helm(tmp_path, "template", "payments", **values)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_null_removes_a_value(tmp_path: Path) -> None:
    """As `--set autoscaling=null` beside a values file; null inside a template has a meaning of its own."""
    template = {"spec": {"securityContext": None}}
    spec = resource(autoscaling=None, transport=None, template=template)["spec"]
    assert rendered(tmp_path, **spec)["spec"] == resource(template=template)["spec"]


def test_a_network_policy_is_made_for_the_pods(tmp_path: Path, api: Api) -> None:
    """The API server accepts it; labels and ports are those that the operator gives to the pods."""
    egress = [{"to": [{"podSelector": {"matchLabels": {"app": "engine"}}}], "ports": [{"port": 8080}]}]
    worker, policy = policed(tmp_path, enabled=True, egress=egress)
    assert worker["spec"] == resource()["spec"]
    values = parse(worker | {"metadata": worker["metadata"] | {"uid": "1", "generation": 1}})
    made = pod_template(values, "worker:1")
    tried = canary(values.name, deployment(values, "worker:1"), "0123456789abcdef", 1)["spec"]["template"]
    spec = policy["spec"]
    for template in (made, tried):
        assert spec["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    [come] = spec["ingress"]
    assert [item["port"] for item in come["ports"]] == [made["spec"]["containers"][0]["ports"][0]["containerPort"]]
    names = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in come["from"]]
    assert names == [SYSTEM, "monitoring"]
    dns, *rest = spec["egress"]
    assert ([(item["port"], item["protocol"]) for item in dns["ports"]], rest) == ([(53, "UDP"), (53, "TCP")], egress)
    del policy["metadata"]["namespace"]
    api.create(policy, fieldValidation="Strict")


def test_a_network_policy_may_let_nobody_in_and_everything_out(tmp_path: Path) -> None:
    _, policy = policed(tmp_path, enabled=True, metricsFrom=[])
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert policy["spec"].keys() == {"podSelector", "policyTypes"}
    assert len(policed(tmp_path, enabled=False)) == 1


def policed(tmp_path: Path, **policy: object) -> list[Object]:
    """Everything that the chart makes with a networkPolicy."""
    done = helm(tmp_path, "template", "payments", **resource()["spec"], networkPolicy=policy)
    assert done.returncode == 0, done.stderr
    return sorted(yaml.safe_load_all(done.stdout), key=lambda made: made["kind"], reverse=True)


def test_a_release_that_cannot_name_a_worker_is_refused_with_a_sentence(tmp_path: Path) -> None:
    done = helm(tmp_path, "template", "1bad", **resource()["spec"])
    assert done.returncode != 0
    assert "it must start with a letter and hold only a-z, 0-9 and '-'; 1bad does not" in done.stderr
