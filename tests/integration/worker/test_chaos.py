"""`rochallor-worker chaos` finds the planted double effect of each of five handlers, and none in their mended twins."""

import asyncio
import json
import os
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope

HANDLERS = Path(__file__).parent / "effects"
EFFECTS = {
    "charge": r"POST http://\S+/charges",
    "append": "log.txt",
    "insert": "shop.db orders",
    "count": "shop.db counter",
    "mail": "mailbox",
}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """A payment service, a mail server and a database; yields the variables that name them."""

    async def charge(_: web.Request) -> web.Response:
        return web.json_response({})

    class Mailbox:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 — aiosmtpd's name
            with (tmp_path / "mailbox").open("ab") as file:
                file.write((envelope.original_content or b"").splitlines()[0] + b"\n")
            return "250 OK"

    with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
        database.execute("CREATE TABLE orders (number INTEGER)")
        database.execute("CREATE TABLE counter (value INTEGER)")
        database.execute("CREATE TABLE done (key TEXT PRIMARY KEY)")
        database.execute("INSERT INTO counter VALUES (0)")
    app = web.Application()
    app.router.add_post("/charges", charge)
    payments = web.AppRunner(app)
    await payments.setup()
    await web.TCPSite(payments, "127.0.0.1", 0).start()
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: SMTP(Mailbox(), hostname="localhost"), "127.0.0.1", 0) as mail:
        yield {
            "PLACE": str(tmp_path),
            "PAYMENTS_URL": f"http://127.0.0.1:{payments.addresses[0][1]}",
            "SMTP_PORT": str(mail.sockets[0].getsockname()[1]),
        }
    await payments.cleanup()


async def chaos(world: dict[str, str], handlers: str, *job_types: str) -> tuple[int, str, str]:
    """Run `rochallor-worker chaos` for a workflow of one step for each job type: its exit status, stdout and stderr."""
    steps: list[dict[str, Any]] = [
        {
            "id": job_type,
            "name": job_type,
            "type": "SERVICE_TASK",
            "jobType": job_type,
            "retryCount": 3,
            "nextStep": after,
        }
        for job_type, after in zip(job_types, (*job_types[1:], "end"), strict=True)
    ]
    definition = Path(world["PLACE"]).parent / "definition.json"
    definition.write_text(
        json.dumps({"id": "d", "name": "d", "steps": [*steps, {"id": "end", "name": "end", "type": "END"}]})
    )
    place = Path(world["PLACE"])
    watched = [argument for file in ("shop.db", "log.txt", "mailbox") for argument in ("--watch", str(place / file))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rochallor_worker", "chaos", handlers, "--definition", str(definition)),
        *("--variables", '{"order": "{n}"}', *watched, "--ignore", "shop.db done", "--seconds", "800"),
        cwd=HANDLERS,
        env=os.environ | world,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await process.communicate()
    return process.returncode or 0, stdout.decode(), stderr.decode()


@pytest.mark.timeout(900)
async def test_the_double_effect_of_each_of_five_handlers_is_found(world: dict[str, str]) -> None:
    status, report, problem = await chaos(world, "doubled:registry", *EFFECTS)
    assert (status, problem) == (1, ""), report
    for job_type, effect in EFFECTS.items():
        assert re.search(rf"^  {job_type}: .*{effect}", report, re.MULTILINE), report
    assert "is killed (SIGKILL)" in report


@pytest.mark.timeout(900)
async def test_nothing_is_found_in_their_mended_twins(world: dict[str, str]) -> None:
    status, report, problem = await chaos(world, "mended:registry", *EFFECTS)
    assert (status, problem) == (0, ""), report
    assert "nothing happened twice" in report
    for job_type, effect in EFFECTS.items():
        assert re.search(rf"^  step '{job_type}': 1 × .*{effect}", report, re.MULTILINE), report
