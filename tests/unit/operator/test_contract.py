"""What one package writes and the other reads: the ROCHALLOR_ variables, and how busy a worker is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rochallor_operator.desired.companions import scale
from rochallor_operator.desired.deployment import deployment
from rochallor_operator.names import METRICS_PORT
from rochallor_operator.pods.probe import is_busy
from rochallor_operator.spec.sections import seconds
from rochallor_operator.spec.worker import RESERVED_ENV
from rochallor_worker import Registry, Runner
from rochallor_worker.cli import settings
from rochallor_worker.devengine.client import FakeEngine
from rochallor_worker.observability import http
from rochallor_worker.observability.metrics import Metrics
from rochallor_worker.observability.sampler import Sampler
from unit.operator.samples import pod, worker
from unit.operator.test_desired import FULL, GRPC, KAFKA, LIMITED, LONG, TEMPLATE

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest
    from rochallor_operator.spec.worker import Spec

SPECS: dict[str, Manifest] = {
    "minimal": {},
    "full": FULL,
    "grpc": GRPC,
    "kafka": KAFKA,
    "limited": LIMITED,
    "long": LONG,
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
    assert got.connection.headers == (("X-Secret", "$(HOME) $$ $"),)
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
    assert got.connection.headers == tuple((header.name, header.value) for header in wish.engine.headers)
    assert (tuple(got.job_types), got.parallelism) == (wish.job_types, wish.parallelism)
    assert got.poll_interval == pytest.approx(seconds(wish.poll_interval))
    assert got.lease == pytest.approx(seconds(wish.lease))
    assert got.drain_timeout == pytest.approx(seconds(wish.drain_timeout))
    assert got.handler_timeout == (None if timeout is None else pytest.approx(timeout))
    assert bool(got.journal_dir) is wish.journal
    assert (got.worker_id, got.metrics_port) == ("payments-7d-x", METRICS_PORT)


def test_the_worker_understands_how_to_reach_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    wish, got = read(monkeypatch, KAFKA)
    kafka = got.kafka
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
    metrics = Metrics(runner, Sampler(runner.slots, lambda: clock), transport="rest", worker_id="w")
    running = pod(phase="Running", podIP="127.0.0.1")
    async with http.serve(runner, metrics, lambda: "", lambda: b"{}", 0) as port:
        clock = 1.0
        assert await is_busy(running, port) is False
        await runner.lanes[0].slots.reserve(1)
        runner.lanes[0].slots.occupy()
        clock = 2.0
        assert await is_busy(running, port) is True
