"""A worker behind a gateway that demands OAuth2 access tokens, which end every 2 s."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from integration.worker.conftest import Worker, worker_process
from oauth import CLIENT_ID, CLIENT_SECRET, TokenServer, token_server
from rochallor_worker.devengine import DevEngine, Gateway
from rochallor_worker.devengine.client import FakeEngine
from unit.worker.engines import definition
from waiting import until

pytestmark = [pytest.mark.timeout(120), pytest.mark.parametrize("transport", ["rest", "grpc"])]

LIFETIME_S = 2.0


@asynccontextmanager
async def guarded(folder: Path, transport: str) -> AsyncIterator[tuple[DevEngine, TokenServer, Worker]]:
    """An engine, the token server of its gateway, and a worker that has started."""
    (folder / "id").write_text(CLIENT_ID)
    (folder / "secret").write_text(CLIENT_SECRET)
    async with (
        token_server(LIFETIME_S) as server,
        DevEngine(grpc_port=0, gateway=Gateway(accepts=server.accepts)) as engine,
        worker_process(
            folder,
            engine.url,
            transport=transport,
            engine_grpc_target=engine.grpc_target,
            engine_oauth_token_url=server.url,
            engine_oauth_client_id_file=str(folder / "id"),
            engine_oauth_client_secret_file=str(folder / "secret"),
            log_level="debug",
        ) as worker,
    ):
        await worker.started()
        yield engine, server, worker
        assert CLIENT_SECRET not in worker.log
        assert not any(token in worker.log for token in server.issued)


async def start(engine: DevEngine, job_type: str, count: int) -> None:
    """Start instances past the gateway."""
    client = FakeEngine(engine.state)
    await client.upload_definition(definition(job_type))
    for number in range(count):
        await client.start_instance("d", {"n": number})


def count(engine: DevEngine, kind: str) -> int:
    return sum(event.kind == kind for event in engine.state.log)


def unfinished(engine: DevEngine) -> int:
    return sum(instance.status != "COMPLETED" for instance in engine.state.instances.values())


async def test_tokens_end_under_load_and_no_job_is_lost_or_run_twice(tmp_path: Path, transport: str) -> None:
    async with guarded(tmp_path, transport) as (engine, server, worker):
        while len(server.issued) < 5:
            await start(engine, "brief", 50)
            await until(lambda: unfinished(engine) < 50)
        assert server.refused == [], "each token was renewed before it ended"
        server.revoke()
        await start(engine, "brief", 50)
        await until(lambda: unfinished(engine) == 0)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
        assert count(engine, "claim") == count(engine, "complete") == len(engine.state.instances)


async def test_a_token_server_that_is_away_and_back_while_the_worker_drains(tmp_path: Path, transport: str) -> None:
    async with guarded(tmp_path, transport) as (engine, server, worker):
        await start(engine, "held", 20)
        await until(lambda: count(engine, "claim") == 20)
        server.instead = lambda: web.Response(status=503)
        text = await worker.reports("EngineUnreachable: ")
        assert text.endswith(f": no access token: the token server {server.url} answered 503\n")
        server.instead = lambda: web.json_response({"error": "invalid_client"}, status=400)
        await worker.reports("EngineRefuses: ")
        worker.process.send_signal(signal.SIGTERM)
        await worker.logged('"draining"')
        (tmp_path / "go").touch()
        await asyncio.sleep(LIFETIME_S)
        assert count(engine, "complete") == 0
        server.instead = None
        assert await worker.ended() == 0
        assert unfinished(engine) == 0
        assert count(engine, "claim") == 20
