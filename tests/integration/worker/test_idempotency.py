"""The idempotency examples: each job runs twice, its effect is there once."""

import asyncio
import importlib.util
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope

from rochallor_worker import Job, Registry
from rochallor_worker.testing import WorkerHarness
from unit.worker.engines import definition

EXAMPLES = Path(__file__).parents[3] / "examples" / "idempotency"


def load(name: str) -> Registry:
    """The registry of an example; what it reads from the environment is read now."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    registry: Registry = module.registry
    return registry


async def run_twice(example: Registry, **variables: Any) -> Mapping[str, Any]:
    """Run one job of the example, whose first run is lost after the effect, as with a worker that dies there.

    Returns the variables of the instance.
    """
    (handler,) = example
    registry = Registry()
    runs = []

    @registry.handler(handler.job_type)
    async def run(job: Job) -> Any:
        runs.append(job.id)
        result = await (handler.function(job) if handler.is_async else asyncio.to_thread(handler.function, job))
        if len(runs) == 1:
            raise ConnectionError("lost the way home")
        return result

    harness = WorkerHarness(registry)
    async with harness.working() as engine:
        await engine.upload_definition(definition(handler.job_type, retries=1))
        instance = await harness.finish((await engine.start_instance("d", variables)).id)
    assert len(runs) == 2
    assert len(set(runs)) == 1
    assert instance.status == "COMPLETED", instance.failure_reason
    return instance.variables or {}


async def test_a_credit_is_booked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger.db"))
    variables = await run_twice(load("credit"), amount=100)
    assert variables == {"amount": 100, "balance": 100}


@asynccontextmanager
async def payments() -> AsyncIterator[tuple[str, dict[str, dict[str, str]]]]:
    """A service that charges once for each Idempotency-Key: its URL, and its charges by key."""
    charges: dict[str, dict[str, str]] = {}

    async def charge(request: web.Request) -> web.Response:
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


async def test_a_card_is_charged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with payments() as (url, charges):
        monkeypatch.setenv("PAYMENTS_URL", url)
        variables = await run_twice(load("payment"), amount=100)
    assert len(charges) == 1
    assert variables == {"amount": 100, "charge": "charge-0"}


class Mailbox:
    """Takes every mail."""

    def __init__(self) -> None:
        self.mails: list[Envelope] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 — its name there
        self.mails.append(envelope)
        return "250 OK"


async def test_a_mail_is_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox, hostname="localhost"), "127.0.0.1", 0)
    async with server:
        monkeypatch.setenv("MAIL_DATABASE", str(tmp_path / "mail.db"))
        monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("SMTP_PORT", str(server.sockets[0].getsockname()[1]))
        await run_twice(load("mail"), address="ada@example.com")
    assert [mail.rcpt_tos for mail in mailbox.mails] == [["ada@example.com"]]


async def test_a_mail_that_could_not_be_sent_leaves_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_DATABASE", str(tmp_path / "mail.db"))
    monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("SMTP_PORT", "1")  # nobody listens there
    outcome = await WorkerHarness(load("mail")).run("welcome-mail", {"address": "ada@example.com"})
    assert getattr(outcome, "retryable", None) is True
    with closing(sqlite3.connect(tmp_path / "mail.db")) as database:
        assert database.execute("SELECT count(*) FROM mail").fetchone() == (0,)


def test_a_file_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOICES", str(tmp_path))
    variables = asyncio.run(run_twice(load("invoice"), amount=100))
    (invoice,) = tmp_path.iterdir()
    assert invoice.name == variables["invoice"]
    assert invoice.read_text() == "Amount due: 100\n"
