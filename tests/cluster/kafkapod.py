"""The same Kafka as a pod of the test cluster: one broker without security, at kafka:9092 in its namespace and at
kafka.NAMESPACE:9092 in the rest of the cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster import images, kafka, kind, node
from cluster.progress import phase

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

IMAGE = "localhost/kafka:test"  # as in kafka.yaml
SOURCES = kafka.POM.parent


def load_image() -> None:
    """Build the image and load it into the cluster: a minute once, then seconds."""
    kafka.ensure()
    images.build_from(kafka.jars(), IMAGE, f"--file={SOURCES / 'Dockerfile'}")
    (kind if kind.works() else node).load(IMAGE)


def start(kubectl: Kubectl) -> None:
    """Start the broker in the namespace of `kubectl` and wait until it serves."""
    with phase("start Kafka"):
        manifests = (SOURCES / "kafka.yaml").read_text().replace("NAMESPACE", kubectl.namespace)
        kubectl("apply", "--filename=-", stdin=manifests)
        kubectl("rollout", "status", "deployment/kafka", "--timeout=3m")


def create_topic(kubectl: Kubectl, name: str, partitions: int = 1) -> None:
    """Create a topic."""
    command = ("java", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server=kafka:9092")
    kubectl("exec", "deploy/kafka", "--", *command, "--create", f"--topic={name}", f"--partitions={partitions}")
