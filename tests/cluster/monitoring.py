"""Debian's Prometheus and prometheus-adapter as pods of the test cluster, in the namespace `monitoring`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from cluster import images, kind, node, programs
from cluster.progress import phase

if TYPE_CHECKING:
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
    cluster.load(IMAGE)
    images.build_program("prometheus-adapter", "localhost/prometheus-adapter:test")
    cluster.load("localhost/prometheus-adapter:test")
    inside = kubectl.within(NAMESPACE)
    rules = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "prometheus-adapter", "namespace": NAMESPACE},
        "data": {"config.yaml": json.dumps({"rules": yaml.safe_load(RULES.read_text())["rules"]["custom"]})},
    }
    with phase("install Prometheus and its adapter"):
        kubectl.within("")("apply", f"--filename={SOURCES / 'prometheus.yaml'}")
        inside("apply", "--filename=-", stdin=json.dumps(rules))
        inside("rollout", "status", "deployment/prometheus", "--timeout=2m")
        inside("rollout", "status", "deployment/prometheus-adapter", "--timeout=2m")
        kubectl("wait", "apiservice/v1beta1.custom.metrics.k8s.io", "--for=condition=Available", "--timeout=2m")
