"""What one package writes and the other reads: the ROCHALLOR_ variables, and how busy a worker is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from rochallor_operator.desired.companions import scale
from rochallor_operator.desired.connections import files
from rochallor_operator.desired.deployment import deployment
from rochallor_operator.names import METRICS_PORT
from rochallor_operator.pods import probe
from rochallor_operator.pods.probe import is_busy
from rochallor_operator.pods.samples import Sample, sample
from rochallor_operator.spec.sections import seconds
from rochallor_operator.spec.worker import RESERVED_ENV
from rochallor_worker import Registry, Runner
from rochallor_worker.cli import settings
from rochallor_worker.cli.connections import engine_connection, kafka_connection
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.events import Event, Executed, Reported
from rochallor_worker.observability import http
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler
from rochallor_worker.source.kafka.connection import NewTopics, TokenEndpoint
from rochallor_worker.source.kafka.properties import OWNED
from unit.operator.samples import pod, worker
from unit.operator.test_desired import BEARER, FULL, GRPC, KAFKA, LIMITED, LONG, MOUNTED, OAUTH, TEMPLATE

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.worker import Spec

DEFINITION = Path(__file__).parents[3] / "crds" / "rochallorworkers.rochallor.io.yaml"
SPECS: dict[str, Manifest] = {
    "minimal": {},
    "full": FULL,
    "grpc": GRPC,
    "kafka": KAFKA,
    "limited": LIMITED,
    "long": LONG,
    "oauth": OAUTH,
    "bearer": BEARER,
    "mounted": MOUNTED,
    "template": TEMPLATE,
}


def variables(**spec: object) -> dict[str, str]:
    """The worker container's ROCHALLOR_ variables, as the kubelet sets them."""
    container = deployment(worker(**spec), "worker:1")["spec"]["template"]["spec"]["containers"][0]
    return {
        item["name"]: item.get("value", "payments-7d-x").replace("$$", "$")
        for item in container["env"]
        if item["name"].startswith("ROCHALLOR_")
    }


def read(monkeypatch: pytest.MonkeyPatch, spec: Manifest) -> tuple[Spec, settings.Settings]:
    """A value in the spec, and the value that the worker reads."""
    written = variables(**spec)
    assert set(written) <= RESERVED_ENV
    assert settings.unknown_variables(written) == []
    for name, value in written.items():
        monkeypatch.setenv(name, value)
    return worker(**spec).spec, settings.load()


def test_a_dollar_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the kubelet $(HOME) is another variable, and $$ is one $."""
    header = {"name": "X-Secret", "value": "$(HOME) $$ $"}
    spec = {"engine": {"url": "http://engine:8080", "headers": [header]}, "env": [{"name": "A", "value": "$(B)"}]}
    _, got = read(monkeypatch, spec)
    assert engine_connection(got).headers == (("X-Secret", "$(HOME) $$ $"),)
    (container,) = deployment(worker(**spec), "worker:1")["spec"]["template"]["spec"]["containers"]
    assert {"name": "A", "value": "$(B)"} in container["env"], "the user's variables may mean others"


@pytest.mark.parametrize("case", SPECS)
def test_the_worker_understands_every_variable(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    wish, got = read(monkeypatch, SPECS[case])
    module = wish.handlers.config_map.module if wish.handlers.config_map else wish.handlers.module
    timeout = None if wish.handler_timeout is None else seconds(wish.handler_timeout)
    assert (got.handlers, got.transport, got.engine_url) == (module, wish.transport, wish.engine.url)
    assert (got.engine_grpc_target, got.outcome_transport) == (
        wish.engine.grpc_target,
        wish.outcome_transport or "rest",
    )
    assert engine_connection(got).headers == tuple((header.name, header.value) for header in wish.engine.headers)
    assert (tuple(got.job_types), got.parallelism) == (wish.job_types, wish.parallelism)
    assert got.poll_interval == pytest.approx(seconds(wish.poll_interval))
    assert got.lease == pytest.approx(seconds(wish.lease))
    assert got.drain_timeout == pytest.approx(seconds(wish.drain_timeout))
    assert got.handler_timeout == (None if timeout is None else pytest.approx(timeout))
    assert bool(got.journal_dir) is wish.journal
    assert (got.worker_id, got.metrics_port) == ("payments-7d-x", METRICS_PORT)


def test_the_worker_understands_how_to_reach_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    wish, got = read(monkeypatch, KAFKA)
    kafka = kafka_connection(got)
    assert wish.kafka is not None
    assert kafka is not None
    assert kafka.bootstrap_servers == wish.kafka.bootstrap_servers
    assert (kafka.security_protocol, kafka.sasl_mechanism) == (wish.kafka.security_protocol, wish.kafka.sasl_mechanism)
    assert (kafka.dedup_window, kafka.dead_letter) == (seconds(wish.kafka.dedup_window), wish.kafka.dead_letter)


def test_the_number_of_pods_is_a_file_where_the_worker_expects_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, got = read(monkeypatch, LIMITED)
    pod = deployment(worker(**LIMITED), "worker:1")["spec"]["template"]["spec"]
    (mount,) = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == "scale"]
    made = scale(worker(**LIMITED), None)
    assert made is not None
    assert got.pods_file in {f"{mount['mountPath']}/{key}" for key in made["data"]}


def test_the_worker_understands_how_to_get_tokens_for_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    wish, got = read(monkeypatch, BEARER)
    brokers, kafka = wish.kafka, kafka_connection(got)
    assert brokers is not None
    assert brokers.oauth is not None
    assert brokers.create_topics is not None
    assert kafka is not None
    client_id, client_secret = (f"/etc/rochallor/{file.path}" for file in files(wish))
    extensions = "identityPoolId=pool-1,logicalCluster=lkc-1"
    assert kafka.oauth == TokenEndpoint(brokers.oauth.token_url, client_id, client_secret, "jobs", extensions)
    assert not any(file.reloaded for file in files(wish)), "a new secret rolls the pods"
    assert kafka.group_protocol == "consumer"
    assert kafka.create_topics == NewTopics(brokers.create_topics.partitions, brokers.create_topics.replication_factor)
    assert kafka.properties == brokers.properties


def test_the_worker_finds_certificates_in_a_volume_of_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    wish, got = read(monkeypatch, MOUNTED)
    tls, connection = wish.engine.tls, engine_connection(got)
    assert (connection.ca_file, connection.cert_file, connection.key_file) == (tls.ca_file, tls.cert_file, tls.key_file)
    assert files(wish) == []
    (container,) = deployment(worker(**MOUNTED), "worker:1")["spec"]["template"]["spec"]["containers"]
    assert {"name": "spiffe", "mountPath": "/run/spiffe"} in container["volumeMounts"]


def test_worker_and_definition_refuse_the_same_properties() -> None:
    (version,) = yaml.safe_load(DEFINITION.read_text())["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    rules = [rule["rule"] for rule in spec["kafka"]["properties"]["properties"]["x-kubernetes-validations"]]
    assert set(re.findall(r"'([a-z.]+)'", rules[-1])) == set(OWNED)


def test_the_worker_understands_how_to_get_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    wish, got = read(monkeypatch, OAUTH)
    client, oauth = wish.engine.oauth, engine_connection(got).oauth
    assert client is not None
    assert oauth is not None
    assert (oauth.token_url, oauth.scope, oauth.audience) == (client.token_url, client.scope, client.audience)
    assert [f"/etc/rochallor/{file.path}" for file in files(wish)] == [oauth.client_id_file, oauth.client_secret_file]
    assert all(file.reloaded for file in files(wish))


def test_every_secret_is_a_file_where_the_worker_expects_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, got = read(monkeypatch, KAFKA)
    pod = deployment(worker(**KAFKA), "worker:1")["spec"]["template"]["spec"]
    (volume,) = [item for item in pod["volumes"] if item["name"] == "connections"]
    (mount,) = [item for item in pod["containers"][0]["volumeMounts"] if item["name"] == "connections"]
    items = [source["secret"]["items"][0]["path"] for source in volume["projected"]["sources"]]
    assert mount["readOnly"] is True
    assert [f"{mount['mountPath']}/{item}" for item in items] == [
        got.engine_token_file,
        got.engine_ca_file,
        got.engine_cert_file,
        got.engine_key_file,
        got.kafka_sasl_username_file,
        got.kafka_sasl_password_file,
        got.kafka_ca_file,
        got.kafka_cert_file,
        got.kafka_key_file,
    ]


def test_the_specs_here_write_every_reserved_variable() -> None:
    assert set().union(*(variables(**spec) for spec in SPECS.values())) == RESERVED_ENV


async def test_the_operator_understands_how_busy_a_worker_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CACHE_SECONDS", 0.0)
    clock = 0.0
    registry = Registry()
    registry.handler("charge-card")(lambda _: None)
    runner = Runner(FakeEngine(), registry, worker_id="w", clock=lambda: clock)
    metrics = Metrics(runner, Sampler(runner.slots, runner.gates, lambda: clock), transport="rest", worker_id="w")
    running = pod(phase="Running", podIP="127.0.0.1")
    async with http.serve(runner, metrics, lambda: b"", 0) as port:
        clock = 1.0
        assert await is_busy(running, port) is False
        await runner.lanes[0].slots.reserve(1)
        runner.lanes[0].slots.occupy()
        clock = 2.0
        assert await is_busy(running, port) is True


async def test_the_operator_understands_how_jobs_ended() -> None:
    registry = Registry()
    registry.handler("charge-card")(lambda _: None)
    runner = Runner(FakeEngine(), registry, worker_id="w")
    metrics = Metrics(runner, Sampler(runner.slots, runner.gates, lambda: 0.0), transport="rest", worker_id="w")
    told: list[Event] = [
        Reported("charge-card", "completed", "accepted", 0.1),
        Reported("charge-card", "failed_retryable", "accepted", 0.1),
        Reported("charge-card", "failed_final", "accepted", 0.1),
        Reported("charge-card", "completed", "refused", 0.1),
        Reported("charge-card", "completed", "lost", 0.1),
        Reported("charge-card", "completed", "late", 0.1),
        *(Executed("charge-card", "completed", seconds, "", "i") for seconds in (0.3, 2.0, 3.0)),
    ]
    for event in told:
        metrics.observe(event)
    async with http.serve(runner, metrics, lambda: b"", 0) as port:
        body = await probe.metrics(pod(phase="Running", podIP="127.0.0.1"), port)
    assert body is not None
    assert sample(body, 2.5) == Sample(jobs=4, failures=3, slow=1)
