"""The jobs in an engine's database: read from PostgreSQL, shown in a condition and in metrics."""

from __future__ import annotations

import json
import re
import time
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest

from cluster.postgres import PASSWORD, TABLES, Server
from integration.operator.api import condition, has
from integration.operator.process import Operator
from integration.operator.samples import NAME, resource, secret, with_label
from rochallor_operator.backlog.database import MOST_TYPES, STATEMENT_S, read
from rochallor_operator.backlog.jobs import Jobs
from rochallor_operator.desired.autoscaling import autoscaler
from rochallor_operator.errors import DegradedError
from unit.operator.samples import worker
from unit.operator.test_desired import KEDA
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.operator.api import Api, Object

READER = "reader's secret"
SHORT_TIMES = {"backlog.reader.PAUSE_S": 0.5, "backlog.reader.START_S": 3, "backlog.reader.FRESH_S": 2}
GRANTS = """
GRANT SELECT (instance_id, job_type, status, lock_expires_at, created_at) ON job TO reader;
GRANT SELECT (id, status) ON workflow_instance TO reader;
"""
"""The least rights that docs/production.md names."""
NAMED: Object = {"engine": {"url": "http://engine:8080", "databaseSecret": {"name": "database", "key": "dsn"}}}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """A server with a user `reader`."""
    with Server() as server:
        server.run(f"CREATE USER reader PASSWORD '{READER.replace(chr(39), chr(39) * 2)}'")
        yield server


@pytest.fixture
def database(postgres: Server) -> Server:
    """The server with the engine's tables, empty, and instances named after their status."""
    postgres.run("DROP TABLE IF EXISTS job, workflow_instance")
    postgres.run(TABLES + GRANTS)
    states = ("ACTIVE", "WAITING", "COMPLETED", "FAILED", "CANCELLED")
    postgres.run("INSERT INTO workflow_instance VALUES " + ", ".join(f"('{state}', '{state}')" for state in states))
    return postgres


def put(database: Server, job_type: str, status: str = "UNLOCKED", instance: str = "ACTIVE", **times: str) -> None:
    """Add a job. Times are intervals from now: of its lease's end and of its creation."""
    columns = {"instance_id": f"'{instance}'", "job_type": f"'{job_type}'", "status": f"'{status}'"}
    columns |= {name: f"now() + interval '{interval}'" for name, interval in times.items()}
    database.run(f"INSERT INTO job ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")


async def test_what_waits_and_what_runs(database: Server) -> None:
    put(database, "charge", created_at="-90 s")
    put(database, "charge", instance="WAITING", created_at="-30 s")
    put(database, "charge", "LOCKED", lock_expires_at="-1 s", created_at="-60 s")
    put(database, "charge", "LOCKED", lock_expires_at="1 h", created_at="-900 s")
    put(database, "busy", "LOCKED", lock_expires_at="1 h", created_at="-900 s")
    for state in ("COMPLETED", "FAILED", "CANCELLED"):
        put(database, "over", state)
        put(database, "over", instance=state)
        put(database, "over", "LOCKED", instance=state, lock_expires_at="1 h")
    found = await read(database.dsn("reader", READER), ["charge"])
    assert found == {"charge": Jobs(3, 1, found["charge"].age), "busy": Jobs(0, 1, 0.0)}
    assert 90 <= found["charge"].age < 100


async def test_types_that_are_asked_for_are_never_left_out(database: Server) -> None:
    database.run(
        "INSERT INTO job (instance_id, job_type, status, created_at) SELECT 'ACTIVE', 'made-up-' || n, 'UNLOCKED',"
        f" now() - interval '1 h' - n * interval '1 s' FROM generate_series(1, {2 * MOST_TYPES}) n"
    )
    put(database, "charge")
    found = await read(database.dsn("reader", READER), ["charge", "refund"])
    assert found["charge"].waiting == 1
    assert len(found) == MOST_TYPES + 2
    assert f"made-up-{2 * MOST_TYPES}" in found, "the oldest of the others"


async def test_a_database_with_another_encoding(database: Server) -> None:
    latin = database.dsn().replace("dbname=postgres", "dbname=latin")
    database.run("CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    try:
        with psycopg.connect(latin, autocommit=True, client_encoding="UTF8") as connection:
            connection.execute(TABLES.encode() + b"INSERT INTO workflow_instance VALUES ('1', 'ACTIVE');")
            connection.execute("INSERT INTO job (instance_id, job_type, status) VALUES ('1', 'prüfen', 'UNLOCKED')")
        assert (await read(latin, ["prüfen"]))["prüfen"].waiting == 1
        with pytest.raises(DegradedError, match="SQLSTATE 22P05"):
            await read(latin, ["20-€"])
    finally:
        database.run("DROP DATABASE latin WITH (FORCE)")


def test_kedas_query_counts_what_waits_and_runs(database: Server) -> None:
    types = ["charge-card", "it's"]
    query = autoscaler(worker(**KEDA | {"jobTypes": types}))[-1]["spec"]["triggers"][1]["metadata"]["query"]
    for job_type in ("charge-card", "it''s", "other"):
        put(database, job_type)
        put(database, job_type, "LOCKED", lock_expires_at="1 h")
        put(database, job_type, "COMPLETED")
        put(database, job_type, instance="CANCELLED")
    with database.connect() as connection:
        assert connection.execute(query.encode()).fetchall() == [(4,)]


async def test_over_tls_bound_to_its_channel(database: Server) -> None:
    assert await read(database.dsn("reader", READER) + " sslmode=require channel_binding=require", ["charge"]) == {}


async def refusal(dsn: str) -> tuple[str, str]:
    with pytest.raises(DegradedError) as raised:
        await read(dsn, ["charge"])
    assert not {"reader", "postgres", READER, PASSWORD} & set(re.findall(r"[\w']+", str(raised.value)))
    return raised.value.reason, str(raised.value)


async def test_what_a_database_refuses(database: Server) -> None:
    password = "refuses the connection: check user, password, dbname and sslmode"
    assert await refusal(database.dsn("reader", "wrong")) == ("DatabaseRefuses", f"the engine's database {password}")
    assert (await refusal(database.dsn("reader", READER) + " sslmode=disable channel_binding=require"))[1].endswith(
        password
    )
    assert (await refusal(database.dsn("reader", READER).replace("dbname=postgres", "dbname=none")))[1].endswith(
        password
    )
    database.run("REVOKE SELECT (created_at) ON job FROM reader")
    assert "GRANT SELECT on both" in (await refusal(database.dsn("reader", READER)))[1]
    database.run("ALTER TABLE job RENAME COLUMN lock_expires_at TO leased_until")
    assert "has no table job or workflow_instance" in (await refusal(database.dsn()))[1]
    database.run("DROP TABLE job")
    assert "has no table job or workflow_instance" in (await refusal(database.dsn()))[1]


async def test_a_read_ends_in_time_and_leaves_nothing(database: Server) -> None:
    with database.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE job")
        began = time.monotonic()
        reason, sentence = await refusal(database.dsn("reader", READER))
        assert (reason, sentence) == (
            "DatabaseUnreachable",
            f"the engine's database takes more than {STATEMENT_S} s to count its jobs",
        )
        assert time.monotonic() - began < STATEMENT_S + 5
    with database.connect() as connection:
        sessions = b"SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'"
        wait_until(lambda: connection.execute(sessions).fetchone() == (0,))


async def test_a_read_writes_nothing(database: Server) -> None:
    """Even if a view in the place of a table does."""
    database.run("ALTER TABLE job RENAME TO jobs; CREATE SEQUENCE touched;")
    database.run("CREATE VIEW job AS SELECT *, nextval('touched') FROM jobs; GRANT SELECT ON job TO reader;")
    database.run("INSERT INTO jobs (instance_id, job_type, status) VALUES ('ACTIVE', 'charge', 'UNLOCKED')")
    try:
        reason, sentence = await refusal(database.dsn())
    finally:
        database.run("DROP VIEW job; DROP SEQUENCE touched; ALTER TABLE jobs RENAME TO job;")
    assert reason == "DatabaseRefuses"
    assert sentence.endswith("refuses the query with SQLSTATE 25006"), "a read-only transaction"


@pytest.fixture
def operator(kubeconfig: Path, api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """An operator of the test's namespace that reads twice a second."""
    monkeypatch.setenv("SHORT_TIMES", json.dumps(SHORT_TIMES))
    module = "integration.operator.short_times"
    with Operator(kubeconfig, module, namespaces=api.namespace, log_level="DEBUG") as running:
        running.event("watching")
        yield running


def test_from_a_database_to_a_condition_and_metrics(database: Server, api: Api, operator: Operator) -> None:
    put(database, "charge-card", created_at="-90 s")
    put(database, "charge-card", "LOCKED", lock_expires_at="1 h")
    put(database, "refund", created_at="-90 s")
    api.create(resource(**NAMED))
    sentence = "Secret 'database' with the key 'dsn' does not exist"
    api.until_the("RochallorWorker", NAME, has("BacklogServed", "Unknown", "SecretNotFound", sentence))
    assert api.get("Deployment", NAME) is not None, "no pod uses it"
    api.create(secret("database", dsn=database.dsn("reader", READER) + "\n"))
    sentence = (
        "jobs of type 'refund' wait in the engine's database, and no RochallorWorker that this operator sees lists"
    )
    api.until_the("RochallorWorker", NAME, has("BacklogServed", "False", "Unserved", sentence))
    labels = f'namespace="{api.namespace}"'
    lines = operator.http("/metrics").text.splitlines()
    jobs = f'rochallor_operator_backlog_jobs{{job_type="charge-card",{labels},state="%s",worker="{NAME}"}} 1.0'
    assert {jobs % "waiting", jobs % "running"} <= set(lines)
    assert f'rochallor_operator_unserved_jobs{{job_type="refund",{labels},worker="{NAME}"}} 1.0' in lines
    assert operator.metric("rochallor_operator_backlog_age_seconds") >= 90

    api.create(resource("refunds", jobTypes=["refund"], suspend=True))
    live = api.until_the("RochallorWorker", NAME, has("BacklogServed", "True", "Served"))
    version = live["metadata"]["resourceVersion"]
    database.stop()
    api.until_the("RochallorWorker", NAME, has("BacklogServed", "Unknown", "DatabaseUnreachable"))
    assert operator.metric("rochallor_operator_backlog_jobs") == 0
    assert operator.metric("rochallor_operator_backlog_read_errors_total") >= 1
    assert int(api.the("RochallorWorker", NAME)["metadata"]["resourceVersion"]) > int(version)
    database.start()
    api.until_the("RochallorWorker", NAME, has("BacklogServed", "True", "Served"))
    api.patch("Secret", "database", {"stringData": {"dsn": database.dsn("reader", "planted-7f3a")}})
    live = api.until_the("RochallorWorker", NAME, has("BacklogServed", "Unknown", "DatabaseRefuses"))
    told = json.dumps([live, api.every("Event"), operator.lines])
    assert not [text for text in (READER, PASSWORD, "planted-7f3a", "user=", "host=") if text in told]
    api.patch("RochallorWorker", NAME, {"spec": {"engine": {"databaseSecret": None}}})
    api.until_the("RochallorWorker", NAME, lambda live: not condition(live, "BacklogServed"))


def test_the_status_is_written_only_when_the_verdict_changes(database: Server, api: Api, operator: Operator) -> None:
    api.create(secret("database", dsn=database.dsn("reader", READER)))
    api.create(resource(**NAMED))
    live = api.until_the("RochallorWorker", NAME, has("BacklogServed", "True", "Served"))
    for count in (1, 2, 3):
        put(database, "charge-card", created_at=f"-{90 + count} s")
        wait_until(partial(counted, operator, count))
    assert api.the("RochallorWorker", NAME)["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]


def counted(operator: Operator, jobs: int) -> bool:
    return operator.metric("rochallor_operator_backlog_jobs") == jobs


def test_where_no_database_is_to_be_read(kubeconfig: Path, api: Api) -> None:
    api.create(secret("database", dsn="host=127.0.0.1 port=1 user=u"))
    api.create(resource(**NAMED))
    with Operator(kubeconfig, namespaces=api.namespace, backlog="false"):
        sentence = "the operator is set to read no databases"
        api.until_the("RochallorWorker", NAME, has("BacklogServed", "Unknown", "Disabled", sentence))


def test_a_secret_that_is_not_lent_is_not_read(kubeconfig: Path, api: Api) -> None:
    closed = secret("database", dsn="x")
    api.create(closed)
    api.create(resource(**NAMED))
    with Operator(kubeconfig, namespaces=api.namespace, template_policy="restricted"):
        sentence = "Secret 'database' breaks the operator's templatePolicy 'restricted'"
        api.until_the("RochallorWorker", NAME, has("Degraded", "True", "PolicyViolation", sentence))
        assert not condition(api.the("RochallorWorker", NAME), "BacklogServed")
        api.patch("Secret", "database", {"metadata": with_label(closed)["metadata"]})
        api.until_the("RochallorWorker", NAME, has("BacklogServed", "Unknown", "ConnectionInvalid"))
