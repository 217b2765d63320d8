"""The Kafka example on real pods: a broker, an engine that dispatches over it, a worker in its groups."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from cluster import kafkapod, product
from e2e.test_hello import run_demo

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

JOB_TYPES = ("hello-fetch", "hello-price", "hello-ship")
DEGRADED = '{.status.conditions[?(@.type=="Degraded")].reason}'
EXAMPLE = product.HELLO.parent / "kafka" / "worker.yaml"


def start_engine(kubectl: Kubectl) -> None:
    """Apply examples/hello/engine.yaml with dispatch over Kafka."""
    deployment, service = yaml.safe_load_all((product.HELLO / "engine.yaml").read_text())
    deployment["spec"]["template"]["spec"]["containers"][0]["args"] += ["--kafka", "kafka:9092"]
    manifests = {"apiVersion": "v1", "kind": "List", "items": [deployment, service]}
    kubectl("apply", "--filename=-", stdin=json.dumps(manifests))
    kubectl("rollout", "status", "deployment/dev-engine", "--timeout=60s")


def apply_handlers(kubectl: Kubectl) -> None:
    """Apply the ConfigMap of examples/hello/worker.yaml."""
    handlers, _ = yaml.safe_load_all((product.HELLO / "worker.yaml").read_text())
    kubectl("apply", "--filename=-", stdin=json.dumps(handlers))


def test_jobs_from_kafka_get_done_once_their_topics_are_there(kubectl: Kubectl) -> None:
    kafkapod.load_image()
    kafkapod.start(kubectl)
    start_engine(kubectl)
    apply_handlers(kubectl)
    kafkapod.create_topic(kubectl, "workflow.jobs.hello-fetch", 3)
    kafkapod.create_topic(kubectl, "workflow.jobs.hello-price", 3)
    kubectl("apply", f"--filename={EXAMPLE}")
    # the third topic is missing: the worker waits, says so in the resource's conditions and does not crash
    kubectl("wait", "rw/hello-kafka", f"--for=jsonpath={DEGRADED}=TopicNotFound", "--timeout=60s")
    conditions = {one["type"]: one for one in kubectl.json("get", "rw/hello-kafka")["status"]["conditions"]}
    assert "Kafka has no topic 'workflow.jobs.hello-ship': create it" in conditions["Degraded"]["message"]
    kafkapod.create_topic(kubectl, "workflow.jobs.hello-ship", 3)
    kubectl("wait", "rw/hello-kafka", "--for=condition=Ready", "--timeout=60s")
    run_demo(kubectl, 100)
    [container] = kubectl.json("get", "pods", "--selector=rochallor.io/worker=hello-kafka")["items"][0]["status"][
        "containerStatuses"
    ]
    assert container["restartCount"] == 0
