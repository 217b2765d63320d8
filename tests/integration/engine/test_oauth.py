"""Access tokens from a real token server, for calls over both transports."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from integration.engine.clients import Transport
from integration.engine.pki import Authority
from integration.engine.proxy import listener
from oauth import CLIENT_ID, CLIENT_SECRET, TokenServer, token_server
from rochallor_worker.devengine import DevEngine, Gateway
from rochallor_worker.engine import oauth
from rochallor_worker.engine.client import Connection, EngineClient, OAuth
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import StartError, TurnedAway, Unreachable


@pytest.fixture
def client(tmp_path: Path) -> OAuth:
    """An OAuth2 client whose files are right; its address is not."""
    (tmp_path / "id").write_text(f"{CLIENT_ID}\n")
    (tmp_path / "secret").write_text(f"{CLIENT_SECRET}\n")
    return OAuth("http://127.0.0.1:1/token", str(tmp_path / "id"), str(tmp_path / "secret"))


@asynccontextmanager
async def behind_tokens(transport: Transport, client: OAuth) -> AsyncIterator[tuple[TokenServer, EngineClient]]:
    """An engine whose gateway demands tokens of a token server, and a client of it."""
    async with token_server() as server, DevEngine(grpc_port=0, gateway=Gateway(accepts=server.accepts)) as engine:
        connection = Connection(oauth=replace(client, token_url=server.url))
        over_grpc = transport == "grpc"
        async with GrpcClient(engine.grpc_target, connection) if over_grpc else RestClient(engine.url, connection) as c:
            yield server, c


@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_calls_carry_a_token_and_one_that_was_revoked_is_replaced(
    transport: Transport, client: OAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "SETTLED_AFTER", 0.0)
    client = replace(client, scope="jobs.read jobs.write", audience="https://engine")
    async with behind_tokens(transport, client) as (server, calls):
        await asyncio.gather(*(calls.list_definitions() for _ in range(20)))
        form = {"grant_type": "client_credentials", "scope": client.scope, "audience": client.audience}
        assert server.requests == [form]
        server.revoke()
        await asyncio.gather(*(calls.list_definitions() for _ in range(20)))
        assert len(server.requests) == 2, "no call was lost, and all share one token"


@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_a_gateway_that_refuses_every_token_is_called_twice_at_most(
    transport: Transport, client: OAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "SETTLED_AFTER", 0.0)
    async with behind_tokens(transport, client) as (server, calls):
        server.refused = []
        server.lifetime = 0.0
        with pytest.raises(TurnedAway, match=r"answered 401|UNAUTHENTICATED"):
            await calls.list_definitions()
        assert len(server.refused) == len(set(server.refused)) == 2


@pytest.mark.parametrize("transport", ["rest", "grpc"])
async def test_a_secret_is_read_for_each_token(transport: Transport, client: OAuth, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    async with behind_tokens(transport, client) as (server, calls):
        server.secret = "new"
        with pytest.raises(TurnedAway, match=r"no access token: the token server .* answered 401 invalid_client$"):
            await calls.list_definitions()
        secret.write_text("")
        await raises(calls, r"no access token: the engine's OAuth client secret file .* is empty")
        secret.write_text("new")
        await raises(calls, "")


async def raises(calls: EngineClient, sentence: str) -> None:
    """Wait until a call fails with this sentence, or succeeds if there is none."""
    found = None
    async with asyncio.timeout(oauth.RETRY_CAP + 5):
        while found is None or not re.search(sentence or "^$", found):
            await asyncio.sleep(0.05)
            found = ""
            try:
                await calls.list_definitions()
            except TurnedAway as error:
                found = str(error)


def echo(status: int, body: str = "", **headers: str) -> Callable[[], web.Response]:
    return lambda: web.Response(status=status, text=body or f"no: {CLIENT_SECRET}", headers=headers)


BAD: dict[str, tuple[Callable[[], web.Response], type[Unreachable], str]] = {
    "broken": (echo(500), Unreachable, "answered 500"),
    "overloaded": (echo(503), Unreachable, "answered 503"),
    "refusing": (echo(400, '{"error": "invalid_scope"}'), TurnedAway, "answered 400 invalid_scope"),
    "repeating": (echo(400, f'{{"error": "{CLIENT_SECRET}"}}'), TurnedAway, "answered 400"),
    "elsewhere": (echo(302, location="/login"), TurnedAway, "answered 302"),
    "a page": (echo(200, "<html>hello</html>"), TurnedAway, "answered 200 without a token that can be sent"),
    "nothing": (echo(200, "{}"), TurnedAway, "answered 200 without a token that can be sent"),
    "not a text": (echo(200, '{"access_token": 5}'), TurnedAway, "answered 200 without a token that can be sent"),
    "two lines": (echo(200, '{"access_token": "a\\nb"}'), TurnedAway, "answered 200 without a token that can be sent"),
    "not ASCII": (echo(200, '{"access_token": "ä"}'), TurnedAway, "answered 200 without a token that can be sent"),
    "deep": (echo(200, "[" * 60_000), TurnedAway, "answered 200 without a token that can be sent"),
    "endless": (echo(200, "x" * 2**20), Unreachable, "does not answer: the answer is larger than 65,536 bytes"),
    "another kind": (
        echo(200, '{"access_token": "a", "token_type": "DPoP"}'),
        TurnedAway,
        "gave a token of another type than Bearer",
    ),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_no_token_is_one_line_without_secrets(case: str, client: OAuth) -> None:
    answer, kind, sentence = BAD[case]
    async with token_server() as server:
        server.instead = answer
        with pytest.raises(Unreachable) as raised:
            await oauth.fetch(replace(client, token_url=server.url), "")
    assert type(raised.value) is kind
    assert str(raised.value) == f"no access token: the token server {server.url} {sentence}"


async def test_a_token_server_that_is_silent_or_away(client: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        Unreachable, match=r"no access token: the token server http://127.0.0.1:1/token cannot be reach"
    ):
        await oauth.fetch(client, "")
    monkeypatch.setattr(oauth, "WAIT_SECONDS", 0.2)
    async with listener(lambda *_: None) as address:
        with pytest.raises(Unreachable, match="does not answer: no answer in time"):
            await oauth.fetch(replace(client, token_url=f"http://{address}/token"), "")


async def test_the_connections_ca_counts_for_the_token_server_too(tmp_path: Path, client: OAuth) -> None:
    authority = Authority.make(tmp_path / "pki")
    served = authority.issue("server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(served.cert, served.key)
    async with token_server(tls=tls) as server:
        client = replace(client, token_url=server.url)
        assert (await oauth.fetch(client, str(authority.ca.cert))).token
        with pytest.raises(Unreachable, match=r"cannot be reached: .*certificate"):
            await oauth.fetch(client, "")


@pytest.mark.parametrize("name", ["client_id_file", "client_secret_file"])
def test_files_that_cannot_be_used_are_found_at_the_start(name: str, tmp_path: Path, client: OAuth) -> None:
    (tmp_path / "empty").touch()
    for content, sentence in (("none", "cannot be read: No such file"), ("empty", "is empty")):
        connection = Connection(oauth=replace(client, **{name: str(tmp_path / content)}))
        with pytest.raises(StartError, match=rf"the engine's OAuth client \w+ file \(ROCHALLOR_\w+\) {sentence}"):
            RestClient("http://127.0.0.1:1", connection)
