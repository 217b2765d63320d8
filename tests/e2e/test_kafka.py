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
    kubectl("wait", "rw/hello-kafka", "--for=jsonpath={.status.replicas}=1", "--timeout=60s")
    # the third topic is missing: the worker waits, says so and does not crash
    pod = ("pods", "--selector=rochallor.io/worker=hello-kafka")
    kubectl("wait", *pod, "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    kubectl("wait", "rw/hello-kafka", "--for=condition=Ready=False", "--timeout=60s")
    kafkapod.create_topic(kubectl, "workflow.jobs.hello-ship", 3)
    kubectl("wait", "rw/hello-kafka", "--for=condition=Ready", "--timeout=60s")
    run_demo(kubectl, 100)
    [container] = kubectl.json("get", *pod)["items"][0]["status"]["containerStatuses"]
    assert container["restartCount"] == 0
