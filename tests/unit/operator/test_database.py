"""Connection strings that tenants write, and servers that they name. (With PostgreSQL: tests/integration.)"""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rochallor_operator.backlog import database
from rochallor_operator.backlog.connection import ALLOWED, parameters
from rochallor_operator.backlog.database import NAME_LIMIT, read
from rochallor_operator.backlog.jobs import Jobs
from rochallor_operator.errors import DegradedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PLANTED = "planted-7f3a"

FINE = {
    "host=db user=u": {"host": "db", "port": "5432"},
    "postgresql://shop:s%20x@db:6432/engine?sslmode=require": {
        "host": "db",
        "port": "6432",
        "user": "shop",
        "password": "s x",
        "dbname": "engine",
        "sslmode": "require",
    },
    "postgres://u@[::1]:5/": {"host": "::1", "port": "5"},
    "user=u host=a,b target_session_attrs=prefer-standby": {"host": "a,b", "port": "5432,5432"},
    "user=u host=a,b port=1,2 channel_binding=require": {"host": "a,b", "port": "1,2"},
    "user=u host=db application_name=shop connect_timeout=99": {"application_name": "shop", "connect_timeout": "5"},
}
BAD = {
    f"service={PLANTED} host=db": "has a parameter that is not allowed: use only host, port,",
    f"host=db passfile=/{PLANTED}": "has a parameter that is not allowed",
    f"host=db sslkey=/{PLANTED}": "has a parameter that is not allowed",
    f"host=db sslrootcert=/{PLANTED}": "has a parameter that is not allowed",
    f"host=db options='-c {PLANTED}=1'": "has a parameter that is not allowed",
    "host=db require_auth=gss": "has a parameter that is not allowed",
    f"host=db hostaddr=127.0.0.1 user={PLANTED}": "has a parameter that is not allowed",
    f"postgresql://{PLANTED}@db/x?krbsrvname=y": "has a parameter that is not allowed",
    f"host=/{PLANTED}": "needs a host, or up to 5: names or addresses, and no socket",
    f"host=@{PLANTED}": "needs a host",
    f"host=db,/{PLANTED}": "needs a host",
    f"postgresql://%2F{PLANTED}/x": "needs a host",
    f"dbname={PLANTED}": "needs a host",
    "host=a,b,c,d,e,f": "needs a host",
    "host=db": "needs a user",
    f"user=u host=db port={PLANTED}": "has a port that is no number from 1 to 65535",
    "user=u host=db port=65536": "has a port that is no number",
    "user=u host=db port=0": "has a port that is no number",
    "user=u host=a,b,c port=1,2": "needs one port, or one for each host",
    "user=u host=a port=1,2": "needs one port, or one for each host",
    PLANTED: "is neither a URL nor keywords of PostgreSQL",
    f"{PLANTED}=1": "is neither a URL nor keywords",
    f"host='{PLANTED}": "is neither a URL nor keywords",
    f"postgresql://db/%zz{PLANTED}": "is neither a URL nor keywords",
    "": "needs a host",
}


@pytest.mark.parametrize("text", FINE)
def test_a_connection_string_that_is_allowed(text: str) -> None:
    assert FINE[text].items() <= parameters(text).items()


@pytest.mark.parametrize("text", BAD)
def test_a_connection_string_that_is_not_allowed_is_not_quoted(text: str) -> None:
    with pytest.raises(DegradedError) as raised:
        parameters(text)
    assert str(raised.value).startswith(f"the connection string of engine.databaseSecret {BAD[text]}")
    assert raised.value.reason == "ConnectionInvalid"
    assert PLANTED not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__, "a traceback would quote it"


@given(st.text() | st.text("hostpr=/@, 'db5").map(lambda text: f"host=db user=u {text}"))
def test_any_text_is_parameters_or_one_sentence(text: str) -> None:
    try:
        found = parameters(text)
    except DegradedError:
        return
    ours = {"client_encoding", "sslcertmode", "gssencmode", "require_auth"}
    assert found.keys() <= {*ALLOWED, *ours}
    hosts = found["host"].split(",")
    assert len(hosts) == len(found["port"].split(","))
    assert all(host and host[0] not in "/@" for host in hosts)


@asynccontextmanager
async def hostile(*answers: bytes, flood: bytes = b"") -> AsyncIterator[str]:
    """A server that answers each message with the next of these bytes; then it floods. Yields a connection string."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            for answer in answers:
                await reader.read(4096)
                writer.write(answer)
            while flood:
                writer.write(flood)
                sent += len(flood)
                await writer.drain()
            await reader.read()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"host=127.0.0.1 port={server.sockets[0].getsockname()[1]} user={PLANTED} sslmode=disable"
    assert sent <= 3 * database.MOST_BYTES


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


READY = message(b"Z", b"I")
LOGGED_IN = message(b"R", struct.pack(">i", 0)) + message(b"S", b"client_encoding\0UTF8\0") + READY


def rows(*found: tuple[bytes, ...]) -> bytes:
    """The answer to the query: columns of text."""
    columns = len(found[0])
    fields = b"".join(b"c\0" + struct.pack(">ihihih", 0, 0, 25, -1, -1, 0) for _ in range(columns))
    described = message(b"T", struct.pack(">h", columns) + fields)
    data = [b"".join(struct.pack(">i", len(value)) + value for value in row) for row in found]
    every = b"".join(message(b"D", struct.pack(">h", columns) + row) for row in data)
    return (
        message(b"1", b"") + message(b"2", b"") + described + every + message(b"C", b"SELECT 1\0") + message(b"Z", b"T")
    )


async def refused(connection: str) -> tuple[str, str]:
    with pytest.raises(DegradedError) as raised:
        await read(connection, ["charge-card"])
    assert PLANTED not in str(raised.value)
    return raised.value.reason, str(raised.value)


async def test_a_hostile_server_is_not_quoted() -> None:
    error = message(b"E", f"SFATAL\0C28P01\0Mpassword of {PLANTED}\0\0".encode())
    async with hostile(error) as connection:
        reason, sentence = await refused(connection)
    assert reason == "DatabaseRefuses"
    assert sentence == "the engine's database refuses the connection: check user, password, dbname and sslmode"


@pytest.mark.parametrize(
    "flood", [message(b"D", b"x" * 60000), b"D\x3f\xff\xff\xff" + b"x" * 60000], ids=["many", "big"]
)
async def test_an_endless_answer_ends_at_a_limit(flood: bytes) -> None:
    async with hostile(LOGGED_IN, flood=flood) as connection:
        reason, _ = await refused(connection)
    assert reason.startswith("Database")


async def test_a_server_that_says_nothing_takes_limited_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "READ_S", 0.2)
    async with hostile(b"") as connection:
        assert (await refused(connection))[0] == "DatabaseUnreachable"


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 200 OK\r\n\r\n", b"\0" * 50, message(b"R", struct.pack(">i", 7))])
async def test_a_server_of_another_kind(garbage: bytes) -> None:
    async with hostile(garbage) as connection:
        assert (await refused(connection))[0].startswith("Database")


async def test_a_server_with_an_encoding_that_lacks_the_type() -> None:
    begun = message(b"C", b"BEGIN\0") + message(b"S", b"client_encoding\0LATIN1\0") + message(b"Z", b"T")
    async with hostile(LOGGED_IN, begun, message(b"C", b"SET\0") + message(b"Z", b"T")) as connection:
        with pytest.raises(DegradedError) as raised:
            await read(connection, ["20-€"])
    assert raised.value.reason == "DatabaseUnreachable"


async def test_no_port_for_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise OSError(24, PLANTED)

    monkeypatch.setattr("rochallor_operator.backlog.relay.asyncio.start_server", refuse)
    assert (await refused("host=db user=u"))[0] == "DatabaseUnreachable"


@pytest.mark.parametrize(
    "answer",
    [
        rows((b"a", b"1", b"2", b"x")),
        rows((b"a", b"-1", b"2", b"3")),
        rows((b"a", b"1", b"2", b"nan")),
        rows((b"a", b"1", b"2", b"inf")),
        rows((b"a", b"9" * 4000, b"2", b"3")),
        rows((b"a",)),
        rows((b"a", b"", b"", b"")),
    ],
)
async def test_numbers_that_are_none_are_no_answer(answer: bytes) -> None:
    async with served(answer) as connection:
        reason, sentence = await refused(connection)
    assert (reason, sentence) == (
        "DatabaseRefuses",
        "the engine's database answers something else than the engine's",
    )


async def test_more_rows_than_asked_for_are_left_out() -> None:
    answer = rows(*((str(number).encode(), b"1", b"0", b"1") for number in range(2 * database.MOST_TYPES)))
    async with served(answer) as connection:
        assert len(await read(connection, [])) == database.MOST_TYPES


async def test_strange_names_become_one_line() -> None:
    answer = rows((b"a\n\xff\x1b", b"1", b"2", b"-3"), (b"x" * 999, b"0", b"0", b"1.5"))
    async with served(answer) as connection:
        found = await read(connection, [])
    assert list(found.values()) == [Jobs(1, 2, 0.0), Jobs(0, 0, 1.5)]
    assert all(name.isprintable() and len(name) <= NAME_LIMIT for name in found)


@asynccontextmanager
async def served(answer: bytes) -> AsyncIterator[str]:
    begun = message(b"C", b"BEGIN\0") + message(b"Z", b"T")
    done = message(b"C", b"SET\0") + message(b"Z", b"T")
    async with hostile(LOGGED_IN, begun, done, answer) as connection:
        yield connection
