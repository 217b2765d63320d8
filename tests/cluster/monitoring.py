"""Debian's Prometheus and prometheus-adapter as pods of the test cluster, in the namespace `monitoring`."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import yaml

from cluster import images, kind, node, programs
from cluster.progress import phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.kubectl import Kubectl

NAMESPACE = "monitoring"
ADDRESS = f"http://prometheus.{NAMESPACE}:9090"
"""The address of Prometheus for pods."""
IMAGE = "localhost/prometheus:test"  # as in prometheus.yaml
SOURCES = programs.MODULES / "prometheus"
RULES = images.ROOT / "examples" / "autoscaling-hpa" / "prometheus-adapter.yaml"


def install(kubectl: Kubectl) -> None:
    """Build what is missing, install it, and wait until autoscalers can query it."""
    cluster = kind if kind.works() else node
    images.build_from(SOURCES, IMAGE)
    reloaded = cluster.load(IMAGE)
    images.build_program("prometheus-adapter", "localhost/prometheus-adapter:test")
    cluster.load("localhost/prometheus-adapter:test")
    inside = kubectl.within(NAMESPACE)
    values = yaml.safe_load(RULES.read_text())["rules"]
    config = {"rules": values["custom"], "externalRules": values["external"]}
    rules = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "prometheus-adapter", "namespace": NAMESPACE},
        "data": {"config.yaml": json.dumps(config)},
    }
    with phase("install Prometheus and its adapter"):
        said = kubectl.within("")("apply", f"--filename={SOURCES / 'prometheus.yaml'}")
        said += inside("apply", "--filename=-", stdin=json.dumps(rules))
        if reloaded or "configured" in said:  # both read their configuration once
            inside("rollout", "restart", "deployment/prometheus", "deployment/prometheus-adapter")
        inside("rollout", "status", "deployment/prometheus", "--timeout=2m")
        inside("rollout", "status", "deployment/prometheus-adapter", "--timeout=2m")
        kubectl("wait", "apiservice/v1beta1.custom.metrics.k8s.io", "--for=condition=Available", "--timeout=2m")


@contextmanager
def external_metrics(kubectl: Kubectl) -> Iterator[None]:
    """Have the adapter serve External metrics during the block.

    A cluster has one server for them. KEDA, if it is there, becomes that again.
    """
    name = "v1beta1.external.metrics.k8s.io"
    before = kubectl("get", "apiservice", name, "--ignore-not-found", "--output=json")
    service = json.loads(kubectl("get", "apiservice", "v1beta1.custom.metrics.k8s.io", "--output=json"))
    spec = {part: service["spec"][part] for part in ("service", "insecureSkipTLSVerify", "version")}
    ours = {
        "apiVersion": service["apiVersion"],
        "kind": service["kind"],
        "metadata": {"name": name},
        "spec": spec | {"group": "external.metrics.k8s.io", "groupPriorityMinimum": 100, "versionPriority": 100},
    }
    kubectl("delete", "apiservice", name, "--ignore-not-found")
    kubectl("create", "--filename=-", stdin=json.dumps(ours))
    try:
        kubectl("wait", f"apiservice/{name}", "--for=condition=Available", "--timeout=2m")
        yield
    finally:
        kubectl("delete", "apiservice", name)
        if before:
            theirs = json.loads(before)
            metadata = {part: theirs["metadata"][part] for part in ("name", "labels") if part in theirs["metadata"]}
            kept = {"apiVersion": theirs["apiVersion"], "kind": theirs["kind"], "spec": theirs["spec"]}
            kubectl("create", "--filename=-", stdin=json.dumps(kept | {"metadata": metadata}))
            kubectl("wait", f"apiservice/{name}", "--for=condition=Available", "--timeout=2m")
