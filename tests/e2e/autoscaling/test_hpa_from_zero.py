"""A HorizontalPodAutoscaler from zero to zero, over a wave of jobs: it counts them in the engine's database."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cluster import monitoring, postgres
from cluster.errors import ClusterError
from e2e.autoscaling.conftest import MOST, QUICK
from e2e.autoscaling.dashboard import BACKLOG, until_it_shows
from e2e.autoscaling.engine import Load, define, one_job, runs
from e2e.autoscaling.replicas import stay, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.kubectl import Kubectl

NAME = "tide"
RATE = 6.0
"""Instances a second, each with a job of 2 s: the work of more than the maximum number of pods."""
# Bounds for a busy machine; the timeline shows the real times.
ZERO_S = 300.0
START_S = 180.0  # the operator reads the database every 30 s, the autoscaler the metric every 15 s
MOST_S = 300.0
DONE_S = 300.0
OUTAGE_S = 180.0
"""Longer than the operator exports what it has read last."""
SAID_S = 120
END_S = 420.0

pytestmark = pytest.mark.timeout(2400)


@pytest.fixture
def database(kubectl: Kubectl) -> None:
    """The engine's database in the test's namespace, and the Secret with its connection string."""
    postgres.load_image()
    start_database(kubectl)
    dsn = f"host=postgres.{kubectl.namespace} user=postgres dbname=postgres sslmode=disable"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "stringData": {"dsn": dsn}}
    kubectl("apply", "--filename=-", stdin=json.dumps(secret))


def start_database(kubectl: Kubectl) -> None:
    """Start an empty database with one instance that is alive."""
    postgres.start(kubectl)
    postgres.run(kubectl, postgres.TABLES)
    postgres.run(kubectl, "INSERT INTO workflow_instance VALUES ('live', 'ACTIVE')")


@contextmanager
def mirrored(kubectl: Kubectl, url: str) -> Iterator[None]:
    """Keep a row in the database for each unfinished job of the dev engine, which has none, during the block.

    While the database is away nothing is written.
    """
    over = threading.Event()

    def mirror() -> None:
        query: dict[str, Any] = {"definitionId": NAME, "status": "ACTIVE", "pageSize": 1}
        while not over.wait(1.0):
            active = httpx.get(f"{url}/v1/instances", params=query, timeout=60).raise_for_status().json()["total"]
            rows = f"INSERT INTO job (instance_id, job_type, status) SELECT 'live', '{NAME}', 'UNLOCKED'"
            try:
                postgres.run(kubectl, f"DELETE FROM job; {rows} FROM generate_series(1, {active})")
            except ClusterError:
                continue

    thread = threading.Thread(target=mirror)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.usefixtures("database")
def test_pods_come_and_go_with_the_jobs_and_stay_while_nobody_can_count_them(
    kubectl: Kubectl, engine: str, apply_worker: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    address = {"url": "http://dev-engine:8080", "databaseSecret": {"name": "database", "key": "dsn"}}
    scaling = {"minReplicas": 0, "maxReplicas": MOST, "targetWait": "5s", "backlog": {}, "behavior": QUICK}
    define(engine, one_job(NAME))
    with monitoring.external_metrics(kubectl):
        apply_worker(NAME, engine=address, autoscaling=scaling)
        kubectl("wait", f"deployment/{NAME}", "--for=create", "--timeout=180s")
        with watch(kubectl, NAME) as pods, Load(engine, NAME) as load, mirrored(kubectl, engine):
            pods.until(lambda count: count == 0, ZERO_S)
            kubectl("wait", f"rw/{NAME}", "--for=condition=AutoscalerReady", f"--timeout={SAID_S}s")
            load.set_rate(RATE)
            pods.until(lambda count: count > 0, START_S)
            pods.until(lambda count: count == MOST, MOST_S)
            until_it_shows(kubectl, NAME, BACKLOG)

            kubectl("delete", "deployment/postgres", "--cascade=foreground")
            load.set_rate(0)
            load.until_completed(DONE_S)  # without load, only the unknown number of jobs keeps the pods
            stay([pods], OUTAGE_S)
            kubectl("wait", f"rw/{NAME}", "--for=condition=AutoscalerReady=False", f"--timeout={SAID_S}s")
            kubectl("wait", f"rw/{NAME}", "--for=condition=Ready", f"--timeout={SAID_S}s")

            start_database(kubectl)
            pods.until(lambda count: count == 0, END_S)
    counted = runs(engine)
    assert counted.total() == len(counted) == load.started
    with capsys.disabled():
        print(f"\nhpa: {pods}", end="")
