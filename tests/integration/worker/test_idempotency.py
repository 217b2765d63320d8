"""The idempotency examples: each job runs twice, with a mishap after its first effect; the effect happens once.

A manual retry is a new step: there, only the examples with a business key make their effect once.
"""

import asyncio
import importlib.util
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope

from rochallor_worker import Job, NonRetryableError, Registry, RestClient, Runner
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.faults import Fault
from rochallor_worker.devengine.records import Generation, Instance
from rochallor_worker.registry import Handler
from rochallor_worker.testing import Postponed, WorkerHarness
from unit.worker.engines import definition
from waiting import until

EXAMPLES = Path(__file__).parents[3] / "examples" / "idempotency"
LEASE = 30.0

Mishap = Literal["worker killed", "lease lost", "complete lost", "handler failed"]
"""What happens after the effect, before the engine knows about it."""
MISHAPS: tuple[Mishap, ...] = ("worker killed", "lease lost", "complete lost", "handler failed")


def load(name: str) -> Registry:
    """Return the registry of an example, which reads its environment variables now."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    registry: Registry = module.registry
    return registry


@dataclass
class Runs:
    """The runs of one example's job."""

    handler: Handler
    mishap: Mishap | Literal["failed permanently"]
    jobs: list[Job] = field(default_factory=list)
    had_effect: bool = False
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first run may end."""

    @property
    def registry(self) -> Registry:
        """The handler, whose first run goes wrong after its effect."""
        registry = Registry()
        registry.handler(self.handler.job_type)(self.run)
        return registry

    async def run(self, job: Job) -> Any:
        self.jobs.append(job)
        first = len(self.jobs) == 1
        call = self.handler.function
        result = await (call(job) if self.handler.is_async else asyncio.to_thread(call, job))
        if first:
            self.had_effect = True
            match self.mishap:
                case "worker killed" | "lease lost":
                    await self.may_end.wait()
                case "handler failed":
                    raise ConnectionError("lost the way home")
                case "failed permanently":
                    raise NonRetryableError("the answer made no sense")
                case "complete lost":
                    pass
        return result


@asynccontextmanager
async def working(client: RestClient, registry: Registry, name: str) -> AsyncIterator[asyncio.Task[list[str]]]:
    """A worker, until the block ends; cancel it to kill it. With one slot, it does not poll while a job runs."""
    runner = Runner(client, registry, worker_id=name, poll_interval=0.01, parallelism=1)
    running = asyncio.create_task(runner.run())
    try:
        yield running
    finally:
        runner.stop()
        with suppress(asyncio.CancelledError):
            await running


async def kill(worker: asyncio.Task[list[str]]) -> None:
    worker.cancel()
    await asyncio.wait({worker})


async def ended(engine: DevEngine, instance_id: str) -> Instance:
    """The instance, once it has ended."""
    instance = engine.state.instances[instance_id]
    await until(lambda: not instance.live)
    return instance


async def run_twice(
    example: Registry, mishap: Mishap, generation: Generation = "fenced", **variables: Any
) -> Mapping[str, Any]:
    """Run one job of the example twice, with the mishap after its first effect; return the instance's variables."""
    (handler,) = example
    runs = Runs(handler, mishap)
    passed = 0.0
    async with (
        DevEngine(generation=generation, clock=lambda: time.time() + passed) as engine,
        RestClient(engine.url) as client,
    ):
        await client.upload_definition(definition(handler.job_type, retries=1))
        instance_id = (await client.start_instance("d", variables)).id
        if mishap == "complete lost":
            engine.faults.always("complete_job", Fault(times=0))
        async with working(client, runs.registry, "first") as first:
            await until(lambda: runs.had_effect and (mishap != "complete lost" or engine.faults.calls["complete_job"]))
            if mishap != "handler failed":
                if mishap != "lease lost":
                    await kill(first)
                engine.faults.clear()
                passed = LEASE + 1
                assert engine.state.sweep() == 1
            async with working(client, runs.registry, "second"):
                instance = await ended(engine, instance_id)
            runs.may_end.set()
    assert [job.key for job in runs.jobs] == [runs.jobs[0].key] * 2
    assert (runs.jobs[0].id == runs.jobs[1].id) is (generation == "A"), "a fenced engine redelivers under a new id"
    assert instance.status == "COMPLETED", instance.failure_reason
    return instance.variables


async def retry_manually(example: Registry, **variables: Any) -> Mapping[str, Any]:
    """Run one job of the example, fail it permanently after its effect, and retry its step manually."""
    (handler,) = example
    runs = Runs(handler, "failed permanently")
    async with DevEngine() as engine, RestClient(engine.url) as client, working(client, runs.registry, "worker"):
        await client.upload_definition(definition(handler.job_type, retries=1))
        instance_id = (await client.start_instance("d", variables)).id
        assert (await ended(engine, instance_id)).status == "FAILED"
        await client.retry_step(instance_id, "step-0")
        instance = await ended(engine, instance_id)
    assert len({job.key for job in runs.jobs}) == 2
    assert instance.status == "COMPLETED", instance.failure_reason
    return instance.variables


after_every_mishap = pytest.mark.parametrize("mishap", MISHAPS)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger.db"))


@after_every_mishap
@pytest.mark.parametrize("generation", ["fenced", "A"])
@pytest.mark.usefixtures("ledger")
async def test_a_credit_is_booked_once(mishap: Mishap, generation: Generation) -> None:
    variables = await run_twice(load("credit"), mishap, generation, transfer="t-1", amount=100)
    assert variables["balance"] == 100


@pytest.mark.usefixtures("ledger")
async def test_a_credit_is_booked_once_though_its_step_is_retried_manually() -> None:
    assert (await retry_manually(load("credit"), transfer="t-1", amount=100))["balance"] == 100


@asynccontextmanager
async def payments(*, busy: bool = False) -> AsyncIterator[tuple[str, dict[str, dict[str, str]]]]:
    """A service that charges once for each Idempotency-Key, never while it is busy: its URL, and its charges by key."""
    charges: dict[str, dict[str, str]] = {}

    async def charge(request: web.Request) -> web.Response:
        if busy:
            return web.Response(status=503, headers={"Retry-After": "7"})
        key = request.headers["Idempotency-Key"]
        return web.json_response(charges.setdefault(key, {"id": f"charge-{len(charges)}"}))

    app = web.Application()
    app.router.add_post("/charges", charge)
    server = web.AppRunner(app)
    await server.setup()
    try:
        await web.TCPSite(server, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{server.addresses[0][1]}", charges
    finally:
        await server.cleanup()


@after_every_mishap
async def test_a_card_is_charged_once(mishap: Mishap, monkeypatch: pytest.MonkeyPatch) -> None:
    async with payments() as (url, charges):
        monkeypatch.setenv("PAYMENTS_URL", url)
        variables = await run_twice(load("payment"), mishap, order="o-1", amount=100)
    assert len(charges) == 1
    assert variables["charge"] == "charge-0"


async def test_a_card_is_charged_once_though_its_step_is_retried_manually(monkeypatch: pytest.MonkeyPatch) -> None:
    async with payments() as (url, charges):
        monkeypatch.setenv("PAYMENTS_URL", url)
        await retry_manually(load("payment"), order="o-1", amount=100)
    assert len(charges) == 1


async def test_a_busy_service_is_asked_again_when_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    async with payments(busy=True) as (url, charges):
        monkeypatch.setenv("PAYMENTS_URL", url)
        outcome = await WorkerHarness(load("payment")).run("charge-card", {"order": "o-1", "amount": 100})
    assert outcome == Postponed(7, "postponed: the service answered 503")
    assert charges == {}


class Mailbox:
    """Accepts every mail."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 — aiosmtpd's name
        self.mails.append(envelope)
        return "250 OK"


@pytest.fixture
async def mailbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mailbox]:
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox, hostname="localhost"), "127.0.0.1", 0)
    async with server:
        monkeypatch.setenv("MAIL_DATABASE", str(tmp_path / "mail.db"))
        monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("SMTP_PORT", str(server.sockets[0].getsockname()[1]))
        yield mailbox


@after_every_mishap
async def test_a_mail_is_sent_once(mishap: Mishap, mailbox: Mailbox) -> None:
    await run_twice(load("mail"), mishap, address="ada@example.com")
    assert [mail.rcpt_tos for mail in mailbox.mails] == [["ada@example.com"]]


async def test_a_manual_retry_sends_another_mail(mailbox: Mailbox) -> None:
    await retry_manually(load("mail"), address="ada@example.com")
    assert len(mailbox.mails) == 2


async def test_a_mail_that_could_not_be_sent_leaves_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_DATABASE", str(tmp_path / "mail.db"))
    monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("SMTP_PORT", "1")  # nobody listens there
    outcome = await WorkerHarness(load("mail")).run("welcome-mail", {"address": "ada@example.com"})
    assert getattr(outcome, "retryable", None) is True
    with closing(sqlite3.connect(tmp_path / "mail.db")) as database:
        assert database.execute("SELECT count(*) FROM mail").fetchone() == (0,)


def files(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


@after_every_mishap
async def test_a_file_is_written_once(mishap: Mishap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOICES", str(tmp_path))
    variables = await run_twice(load("invoice"), mishap, amount=100)
    assert files(tmp_path) == {variables["invoice"]: "Amount due: 100\n"}


async def test_a_manual_retry_writes_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOICES", str(tmp_path))
    await retry_manually(load("invoice"), amount=100)
    assert len(files(tmp_path)) == 2
