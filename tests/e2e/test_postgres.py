"""The example with a pool of connections to PostgreSQL: its image, its lifespan and its handler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from cluster import images, kind, node, postgres, product
from e2e.instances import run
from waiting import wait_until

if TYPE_CHECKING:
    from cluster.kubectl import Kubectl

EXAMPLE = images.ROOT / "examples" / "postgres"
IMAGE = "ledger:0.0.1"


def build(worker: str) -> None:
    """Build the example's image on this checkout's worker, and load it into the cluster."""
    images.build_from(EXAMPLE, IMAGE, f"--build-arg=WORKER_IMAGE={worker}")
    (kind if kind.works() else node).load(IMAGE)


def test_a_pool_of_connections(kubectl: Kubectl) -> None:
    build(product.image("worker"))
    postgres.load_image()
    kubectl("apply", f"--filename={product.HELLO / 'engine.yaml'}", f"--filename={EXAMPLE / 'worker.yaml'}")
    # until there is a database, the worker is no pod that is ready; then it needs no help
    kubectl("wait", "deployment/ledger", "--for=create", "--timeout=180s")
    postgres.start(kubectl)
    with product.explained(kubectl, "deployment/ledger"):
        kubectl("wait", "rw/ledger", "--for=condition=Ready", "--timeout=180s")
    transfers = [("T1", "9.50"), ("T2", "0.25"), ("T1", "9.50")]
    with kubectl.port_forward("service/dev-engine", 8080) as url, httpx.Client(base_url=url, timeout=60) as engine:
        wishes = [{"transfer": number, "account": "Ada", "amount": amount} for number, amount in transfers]
        *credited, refused = run(engine, EXAMPLE, [*wishes, {"transfer": "T3", "account": "Ada"}])
    assert {each["status"] for each in credited} == {"COMPLETED"}
    # each balance is that of its own transaction, which may not see the others yet
    assert {each["variables"]["balance"] for each in credited} <= {"9.50", "0.25", "9.75"}
    assert postgres.run(kubectl, "SELECT sum(amount) FROM credit") == "9.75", "T1 counts once"
    assert refused["failureReason"] == "NonRetryableError: the variables do not fit Transfer: amount: missing"
    kubectl("delete", "rw/ledger")
    kubectl("wait", "pods", "--selector=rochallor.io/worker=ledger", "--for=delete", "--timeout=180s")
    clients = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    wait_until(lambda: postgres.run(kubectl, clients) == "0")  # a process for each, which ends a moment later
