"""When access tokens are fetched, on a virtual clock."""

import asyncio
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logged import logged_by
from rochallor_worker.engine.oauth import LIFETIME, RETRY_CAP, SETTLED_AFTER, Grant, Tokens, _granted
from rochallor_worker.errors import TurnedAway, Unreachable
from unit.worker.engines import loop_time


class Server:
    """Grants numbered tokens, each of which takes a while, or raises."""

    def __init__(self, lifetime: float = 100.0, takes: float = 0.0) -> None:
        self.lifetime, self.takes = lifetime, takes
        self.asked_at: list[float] = []
        self.error: Unreachable | None = None
        self.tokens = Tokens(self.fetch, loop_time, Random(1))

    async def fetch(self) -> Grant:
        self.asked_at.append(loop_time())
        await asyncio.sleep(self.takes)
        if self.error is not None:
            raise self.error
        return Grant(f"t{len(self.asked_at)}", self.lifetime)


@pytest.mark.looptime
async def test_a_token_is_renewed_before_it_ends_and_no_call_waits() -> None:
    server = Server(takes=3)
    assert await server.tokens.current() == "t1"
    for _ in range(1000):
        before = loop_time()
        token = await server.tokens.current()
        assert loop_time() == before, "the first call only has to wait"
        asked_at = server.asked_at[int(token[1:]) - 1]
        assert loop_time() - asked_at < 90
        await asyncio.sleep(1)
    pauses = [later - earlier for earlier, later in zip(server.asked_at, server.asked_at[1:], strict=False)]
    assert all(70 <= pause <= 86 for pause in pauses)
    assert len(set(pauses)) > 5, "workers that started together do not stay together"


@pytest.mark.looptime
async def test_calls_that_need_the_same_token_ask_once() -> None:
    server = Server(takes=3)
    assert await asyncio.gather(*(server.tokens.current() for _ in range(50))) == ["t1"] * 50
    await asyncio.sleep(1000)
    assert await asyncio.gather(*(server.tokens.current() for _ in range(50))) == ["t2"] * 50


@pytest.mark.looptime
@pytest.mark.parametrize("error", [Unreachable("no access token: away"), TurnedAway("no access token: refused")])
async def test_without_a_token_server_the_old_token_is_used_until_it_ends(error: Unreachable) -> None:
    server = Server()
    await server.tokens.current()
    server.error = error
    with logged_by("rochallor_worker") as entries:
        while loop_time() < 99:
            assert await server.tokens.current() == "t1"
            await asyncio.sleep(1)
    assert [entry["event"] for entry in entries] == ["the token server gives no new access token"]
    await asyncio.sleep(1)
    asked = len(server.asked_at)
    while loop_time() < 200:
        with pytest.raises(type(error), match=str(error)):
            await server.tokens.current()
        await asyncio.sleep(0.01)
    assert 100 / RETRY_CAP <= len(server.asked_at) - asked <= 100, "not one request for each call"
    server.error = None
    await asyncio.sleep(RETRY_CAP)
    assert await server.tokens.current() == f"t{len(server.asked_at)}"


@pytest.mark.looptime
async def test_a_token_that_is_refused_is_renewed_once_for_all_who_sent_it() -> None:
    server = Server(takes=1)
    await server.tokens.current()
    await asyncio.sleep(SETTLED_AFTER)
    assert all(await asyncio.gather(*(server.tokens.replaced("t1") for _ in range(50))))
    assert len(server.asked_at) == 2
    assert await server.tokens.replaced("t1"), "there is another one by now"
    assert not await server.tokens.replaced("t2"), "a new one would be refused, too"
    assert len(server.asked_at) == 2
    await asyncio.sleep(SETTLED_AFTER)
    server.error = Unreachable("away")
    assert not await server.tokens.replaced("t2")
    assert await server.tokens.current() == "t2", "one refusal proves little"


@pytest.mark.looptime
async def test_tokens_that_end_before_they_come_are_none_and_are_asked_for_with_pauses() -> None:
    server = Server(lifetime=1, takes=2)
    while loop_time() < 100:
        with pytest.raises(Unreachable, match="no access token: the token server's last one had ended before it came"):
            await server.tokens.current()
        await asyncio.sleep(0.01)
    assert len(server.asked_at) < 40, "not one request after another"
    server.takes = 0
    await asyncio.sleep(RETRY_CAP)
    assert await server.tokens.current() == f"t{len(server.asked_at)}"


@pytest.mark.looptime
async def test_a_caller_that_is_cancelled_ends_no_request() -> None:
    server = Server(takes=3)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(server.tokens.current(), 1)
    assert await server.tokens.current() == "t1"
    assert (len(server.asked_at), loop_time()) == (1, 3)


@pytest.mark.looptime
async def test_closing_ends_the_request_in_flight() -> None:
    server = Server(takes=1000)
    waiting = asyncio.create_task(server.tokens.current())
    await asyncio.sleep(1)
    await server.tokens.aclose()
    with pytest.raises(Unreachable, match="no access token: the client is closed"):
        await waiting
    assert loop_time() == 1


@given(st.lists(st.floats(0, 500), min_size=1, max_size=30), st.floats(1, 200), st.floats(0, 0.9), st.integers())
def test_a_token_in_use_still_lasts(pauses: list[float], lifetime: float, takes: float, seed: int) -> None:
    now = 0.0

    async def calls() -> None:
        nonlocal now

        async def fetch() -> Grant:
            nonlocal now
            asked_at = now
            now += takes
            return Grant(str(asked_at), lifetime)

        tokens = Tokens(fetch, lambda: now, Random(seed))
        for pause in pauses:
            now += pause
            assert now <= float(await tokens.current()) + lifetime
        await tokens.aclose()

    asyncio.run(calls())


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ("60", 60),
        ('"3599"', 3599),
        ("null", LIFETIME),
        ('"soon"', LIFETIME),
        ('"nan"', LIFETIME),
        ('"inf"', LIFETIME),
        ("true", LIFETIME),
        ("[60]", LIFETIME),
        ("1e400", LIFETIME),
        ("9" * 400, LIFETIME),
        ("1e12", 1e12),
        ("0", 1),
        ("-5", 1),
    ],
)
def test_whatever_a_server_calls_a_granted_costs_no_token(sent: str, seconds: float) -> None:
    answer = f'{{"access_token": "t", "expires_in": {sent}}}'
    assert _granted("the server", 200, answer.encode()) == Grant("t", seconds)
