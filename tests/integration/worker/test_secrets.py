"""A worker never shows its secrets, whatever goes wrong: log, /metrics, /readyz, /status.json, status page."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web

from integration.engine.pki import Authority
from integration.worker.conftest import Worker, worker_process
from integration.worker.test_process import start
from rochallor_worker.devengine import DevEngine
from rochallor_worker.engine.client import Connection
from rochallor_worker.engine.credentials import Credentials
from rochallor_worker.source.kafka import client
from rochallor_worker.source.kafka.connection import Kafka

TOKEN, HEADER, PASSWORD = "planted-token-1f", "planted-header-2f", "planted-password-3f"
PLANTED = (TOKEN, HEADER, PASSWORD)
HEADERS = f"X-Api-Key: {HEADER}\nX-Team: blue"

CODE = """
import os
from rochallor_worker import Job, NonRetryableError, Registry

registry = Registry()

@registry.handler("final")
def final(job: Job) -> None:
    environment = dict(os.environ)
    raise NonRetryableError("never")

@registry.handler("retried")
async def retried(job: Job) -> None:
    environment = dict(os.environ)
    raise ValueError("not yet")

@registry.handler("asking")
async def asking(job: Job) -> None:
    await job.instance()
"""
"""Handlers whose frames contain all secrets when they raise."""


async def shown(worker: Worker) -> str:
    """Everything that a running worker shows."""
    paths = ("/", "/status.json", "/livez", "/readyz", "/metrics")
    return worker.log + "".join([(await worker.get(path)).text for path in paths])


def planted_in(text: str) -> list[str]:
    return [secret for secret in PLANTED if secret in text]


@pytest.fixture(params=["json", "text"])
def verbose(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"log_level": "debug", "log_format": request.param}


async def test_jobs_that_fail(engine: DevEngine, tmp_path: Path, verbose: dict[str, str]) -> None:
    await start(engine, "final")
    await start(engine, "retried", retries=1)
    secret = {"engine_token": TOKEN, "engine_headers": HEADERS, "kafka_sasl_password": PASSWORD}
    async with worker_process(tmp_path, engine.url, code=CODE, **secret, **verbose) as worker:
        if verbose["log_format"] == "json":
            await worker.started()
        await worker.logged("ValueError: not yet")
        await worker.logged("Traceback")
        everything = await shown(worker) if worker.url else worker.log
    assert planted_in(everything) == []


async def echo(request: web.Request) -> web.Response:
    """A gateway that refuses requests, and repeats their headers."""
    return web.json_response({"message": f"no access for {dict(request.headers)} {'x' * 400}"}, status=429)


@asynccontextmanager
async def rest_gateway() -> AsyncIterator[dict[str, str]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield {"engine_url": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    await runner.cleanup()


class _Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def refuse(_: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"no access for {details.invocation_metadata}")

        return grpc.unary_unary_rpc_method_handler(refuse)


@asynccontextmanager
async def grpc_gateway() -> AsyncIterator[dict[str, str]]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([_Echo()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield {"transport": "grpc", "engine_grpc_target": f"127.0.0.1:{port}"}
    await server.stop(None)


@pytest.mark.parametrize("gateway", [rest_gateway, grpc_gateway])
async def test_a_gateway_that_repeats_what_it_refuses(gateway: type, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    secret = {"engine_token_file": str(token), "engine_headers": HEADERS, "log_level": "debug"}
    async with gateway() as settings, worker_process(tmp_path, "http://127.0.0.1:1", **secret, **settings) as worker:
        await worker.started()
        await worker.logged("[redacted]")
        assert "no access for" in (await worker.get("/readyz")).text
        assert "blue" in worker.log, "what is no secret is shown"
        assert planted_in(await shown(worker)) == []


async def test_nothing_answers(tmp_path: Path) -> None:
    secret = {"engine_token": TOKEN, "engine_headers": HEADERS}
    user = {"kafka_sasl_username": "shop", "kafka_sasl_password": PASSWORD, "kafka_sasl_mechanism": "PLAIN"}
    kafka = {"transport": "kafka", "kafka_bootstrap_servers": "127.0.0.1:1", "kafka_security_protocol": "SASL_SSL"}
    async with (
        worker_process(tmp_path, "http://127.0.0.1:1", **secret, log_level="debug") as polling,
        worker_process(tmp_path, "http://127.0.0.1:1", **secret, **user, **kafka, log_level="debug") as consuming,
    ):
        for worker, word in ((polling, "EngineUnreachable"), (consuming, "KafkaUnreachable")):
            await worker.started()
            await worker.reports(word)
            assert planted_in(await shown(worker)) == []


BAD: dict[str, tuple[dict[str, str], str]] = {
    "a user in the URL": ({"engine_url": f"https://shop:{PASSWORD}@engine"}, "ROCHALLOR_ENGINE_URL is not valid"),
    "a key in the URL": ({"engine_url": f"https://engine/?key={PASSWORD}"}, "ROCHALLOR_ENGINE_URL is not valid"),
    "a user in the target": (
        {"transport": "grpc", "engine_grpc_target": f"shop:{PASSWORD}@engine:1"},
        "ROCHALLOR_ENGINE_GRPC_TARGET is not valid",
    ),
    "a user in the brokers": (
        {"transport": "kafka", "kafka_bootstrap_servers": f"shop:{PASSWORD}@kafka:1"},
        "ROCHALLOR_KAFKA_BOOTSTRAP_SERVERS is not valid",
    ),
    "a header without a name": ({"engine_headers": HEADER}, "ROCHALLOR_ENGINE_HEADERS is not valid"),
    "a header that cannot be sent": ({"engine_headers": f"X-Api-Key: {HEADER}ü"}, "the engine header 'X-Api-Key'"),
    "a token that cannot be sent": (
        {"engine_token": f"{TOKEN}ü"},
        "the engine's token (ROCHALLOR_ENGINE_TOKEN) cannot be sent",
    ),
    "a token for its file": (
        {"engine_token_file": TOKEN},
        "(ROCHALLOR_ENGINE_TOKEN_FILE) cannot be read: No such file",
    ),
    "a password for its file": (
        {
            "transport": "kafka",
            "kafka_bootstrap_servers": "kafka:1",
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_username": "shop",
            "kafka_sasl_password_file": PASSWORD,
        },
        "Kafka's password file cannot be read: No such file",
    ),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("pki") / "ca")


async def test_a_start_that_fails(tmp_path: Path, authority: Authority) -> None:
    keys = {"engine_url": "https://e", "engine_cert_file": str(authority.ca.cert), "engine_key_file": TOKEN}
    bad = [*BAD.values(), (keys, "the engine's client key file cannot be read: No such file")]

    async def log_of(settings: dict[str, str]) -> str:
        async with worker_process(tmp_path, "http://engine:1", **settings, log_level="debug") as worker:
            assert await worker.ended() == 2
            return worker.log

    logs = await asyncio.gather(*(log_of(settings) for settings, _ in bad))
    for log, (_, sentence) in zip(logs, bad, strict=True):
        assert sentence in log
        assert planted_in(log) == []


def test_objects_with_secrets_do_not_print_them(authority: Authority) -> None:
    connection = Connection(token=TOKEN, headers=(("X-Api-Key", HEADER),))
    kafka = Kafka("kafka:1", "SASL_SSL", username="shop", password=PASSWORD)
    files = Connection(cert_file=str(authority.ca.cert), key_file=str(authority.ca.key))
    tls = Credentials(files).tls
    assert tls is not None
    printed = f"{connection} {kafka} {client.login(kafka)} {tls} {Credentials(connection)}"
    assert planted_in(printed) == []
    assert "PRIVATE KEY" not in printed
