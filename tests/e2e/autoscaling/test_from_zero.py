"""No work, no pods: KEDA starts the first one for records in Kafka, or for jobs in the engine's database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cluster import kafkapod, monitoring, postgres
from e2e.autoscaling.conftest import MOST, QUICK
from e2e.autoscaling.dashboard import KAFKA, until_it_shows
from e2e.autoscaling.engine import Load, define, one_job
from e2e.autoscaling.replicas import stay, watch
from e2e.test_kafka import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.kubectl import Kubectl

FROM_ZERO: dict[str, Any] = {"provider": "keda", "minReplicas": 0, "maxReplicas": MOST, "behavior": QUICK}
# Bounds for a busy machine; the timeline shows the real times.
START_S = 240.0  # KEDA polls every 30 s
END_S = 420.0
DONE_S = 300.0
STEADY_S = 60.0  # two polls and the time for which KEDA waits before it goes to zero

pytestmark = [pytest.mark.usefixtures("autoscalers"), pytest.mark.timeout(1800)]


def test_records_in_kafka(
    kubectl: Kubectl, apply_worker: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    kafkapod.load_image()
    kafkapod.start(kubectl)
    kubectl("apply", f"--filename={EXAMPLE / 'engine.yaml'}")
    kubectl("rollout", "status", "deployment/dev-engine", "--timeout=180s")
    kafkapod.create_topic(kubectl, "workflow.jobs.lag", MOST)
    kafka = {"bootstrapServers": f"kafka.{kubectl.namespace}:9092"}  # KEDA runs in another namespace
    apply_worker("lag", transport="kafka", kafka=kafka, autoscaling=FROM_ZERO)
    kubectl("wait", "deployment/lag", "--for=create", "--timeout=180s")
    with kubectl.port_forward("service/dev-engine", 8080) as url, watch(kubectl, "lag") as replicas:
        define(url, one_job("lag"))
        replicas.until(lambda pods: pods == 0, END_S)
        kubectl("wait", "rw/lag", "--for=condition=Ready", "--timeout=180s")
        with Load(url, "lag") as load:
            load.start(120)
            replicas.until(lambda pods: pods > 0, START_S)
            until_it_shows(kubectl, "lag", KAFKA)
            load.until_completed(DONE_S)
        replicas.until(lambda pods: pods == 0, END_S)
    with capsys.disabled():
        print(f"\nkafka: {replicas}", end="")


@pytest.mark.usefixtures("engine")
def test_jobs_in_the_database(
    kubectl: Kubectl, apply_worker: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    postgres.load_image()
    postgres.start(kubectl)
    postgres.run(kubectl, postgres.TABLES)
    dsn = f"host=postgres.{kubectl.namespace} user=postgres dbname=postgres sslmode=disable"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "stringData": {"dsn": dsn}}
    kubectl("apply", "--filename=-", stdin=json.dumps(secret))
    prometheus = {"address": monitoring.ADDRESS}
    engine = {"url": "http://dev-engine:8080", "databaseSecret": {"name": "database", "key": "dsn"}}
    scaling = FROM_ZERO | {"prometheus": prometheus, "backlog": {"target": 10}}
    apply_worker("queue", engine=engine, autoscaling=scaling)
    kubectl("wait", "deployment/queue", "--for=create", "--timeout=180s")
    with watch(kubectl, "queue") as replicas:
        replicas.until(lambda pods: pods == 0, END_S)
        postgres.run(kubectl, "INSERT INTO workflow_instance VALUES ('live', 'ACTIVE'), ('over', 'CANCELLED')")
        for instance, job_type, count in (("live", "other", 99), ("over", "queue", 99), ("live", "queue", 25)):
            job = f"'{instance}', '{job_type}', 'UNLOCKED' FROM generate_series(1, {count})"
            postgres.run(kubectl, f"INSERT INTO job (instance_id, job_type, status) SELECT {job}")
        replicas.until(lambda pods: pods == 3, START_S)
        postgres.run(kubectl, "UPDATE job SET status = 'LOCKED'")
        stay([replicas], STEADY_S)  # running jobs count
        postgres.run(kubectl, "UPDATE job SET status = 'COMPLETED'")
        replicas.until(lambda pods: pods == 0, END_S)
    with capsys.disabled():
        print(f"\npostgresql: {replicas}", end="")
