"""The Kafka example on real pods: a broker, an engine that dispatches over it, a worker in its groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from cluster import images, kafkapod
from e2e.instances import run

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

DEGRADED = '{.status.conditions[?(@.type=="Degraded")].reason}'
EXAMPLE = images.ROOT / "examples" / "kafka"
INSTANCES = 100


def test_jobs_from_kafka_get_done_once_their_topics_are_there(kubectl: Kubectl) -> None:
    kafkapod.load_image()
    kafkapod.start(kubectl)
    kafkapod.create_topic(kubectl, "workflow.jobs.parcel-label", 3)
    kubectl("apply", f"--filename={EXAMPLE / 'engine.yaml'}", f"--filename={EXAMPLE / 'worker.yaml'}")
    # the other topic is missing: the worker waits, the resource's conditions say so, and nothing crashes
    found = kubectl.json("wait", "rw/parcels", f"--for=jsonpath={DEGRADED}=TopicNotFound", "--timeout=180s")
    conditions = {one["type"]: one for one in found["status"]["conditions"]}
    assert "Kafka has no topic 'workflow.jobs.parcel-book': create it" in conditions["Degraded"]["message"]
    kafkapod.create_topic(kubectl, "workflow.jobs.parcel-book", 3)
    kubectl("wait", "rw/parcels", "--for=condition=Ready", "--timeout=180s")
    with kubectl.port_forward("service/dev-engine", 8080) as url, httpx.Client(base_url=url, timeout=60) as engine:
        addresses = [f"{number} Quay" if number % 10 else "" for number in range(INSTANCES)]
        ended = run(engine, EXAMPLE, ({"address": address} for address in addresses))
    for address, instance in zip(addresses, ended, strict=True):
        if address:  # some are booked after a retry, which is a separate record
            assert (instance["status"], "booking" in instance["variables"]) == ("COMPLETED", True)
        else:
            end = (instance["status"], instance["failureReason"])
            assert end == ("FAILED", "NonRetryableError: the parcel has no address")
    [container] = kubectl.json("get", "pods", "--selector=rochallor.io/worker=parcels")["items"][0]["status"][
        "containerStatuses"
    ]
    assert container["restartCount"] == 0
