"""Reads the waiting and running jobs from an engine's database.

A tenant names the database, so it may be slow, strange or hostile: a read takes a limited time and a limited number of
bytes, and its errors repeat nothing that the connection string or the server has said.
"""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from psycopg import AsyncConnection, Error, errors
from psycopg.conninfo import make_conninfo

from rochallor_operator.backlog.connection import parameters
from rochallor_operator.backlog.jobs import Jobs
from rochallor_operator.backlog.relay import Relay
from rochallor_operator.errors import DegradedError
from rochallor_operator.runtime.text import one_line
from rochallor_operator.status.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

READ_S: Final = 15.0
"""The most seconds that a read takes, with all attempts to connect."""
STATEMENT_S: Final = 5
MOST_TYPES: Final = 1000
"""The most job types that are read beside those asked for: instances may make up types."""
MOST_BYTES: Final = 4 << 20
NAME_LIMIT: Final = 200
"""Characters of a job type: the CRD allows no longer ones."""
_STATE: Final = re.compile("[0-9A-Z]{5}")

QUERY: Final = """
SELECT job_type, waiting, running, coalesce(age, 0) FROM (
    SELECT
        job.job_type::text,
        count(*) FILTER (WHERE NOT runs) AS waiting,
        count(*) FILTER (WHERE runs) AS running,
        extract(epoch FROM now() - min(job.created_at) FILTER (WHERE NOT runs)) AS age
    FROM job
    JOIN workflow_instance ON workflow_instance.id = job.instance_id
    CROSS JOIN LATERAL (SELECT job.status = 'LOCKED' AND coalesce(job.lock_expires_at > now(), false) AS runs) AS state
    WHERE job.status IN ('UNLOCKED', 'LOCKED') AND workflow_instance.status IN ('ACTIVE', 'WAITING')
    GROUP BY job.job_type
) AS types
ORDER BY job_type = ANY(%s) DESC, age DESC NULLS LAST
LIMIT %s
"""
"""engine.md, Table `job`: UNLOCKED jobs of live instances wait, and LOCKED ones run until their leases have ended. In
Kafka mode a job is UNLOCKED until its outcome is accepted, so those that run count as waiting."""


async def read(connection: str, asked_for: Collection[str]) -> dict[str, Jobs]:
    """The jobs by type: of the types asked for, and of those whose jobs have waited longest. A type without jobs is
    left out.

    Raises DegradedError when the connection string is not allowed, or the database can't be read.
    """
    given = parameters(connection)
    hosts = zip(given["host"].split(","), given["port"].split(","), strict=True)
    relays = [Relay(host, int(port), MOST_BYTES) for host, port in hosts]
    try:
        async with asyncio.timeout(READ_S), AsyncExitStack() as stack:
            ports = [str(await stack.enter_async_context(relay.serve())) for relay in relays]
            local = {"hostaddr": ",".join(["127.0.0.1"] * len(ports)), "port": ",".join(ports)}
            with _no_connection(relays):
                # Some poolers know no prepared statements.
                database = await AsyncConnection.connect(make_conninfo(**given | local), prepare_threshold=None)
            try:
                rows = await _query(database, asked_for)
            finally:
                await database.close()
    except (Error, OSError, UnicodeError) as error:  # a TimeoutError is an OSError; the server may change the encoding
        raise _failure(error) from None
    return dict(map(_jobs, rows))


async def _query(database: AsyncConnection, asked_for: Collection[str]) -> list[list[bytes | None]]:
    """The rows as the server has sent them: it may send anything, and more rows than it was asked for."""
    most = MOST_TYPES + len(asked_for)
    await database.set_read_only(True)
    await database.execute(f"SET LOCAL statement_timeout = '{STATEMENT_S}s'")
    cursor = await database.execute(QUERY, (list(asked_for), most))
    result = cursor.pgresult
    rows = range(min(result.ntuples, most) if result is not None else 0)
    return [[result.get_value(row, column) for column in range(4)] for row in rows if result is not None]


def _jobs(row: list[bytes | None]) -> tuple[str, Jobs]:
    job_type, waiting, running, age = (column or b"" for column in row)
    try:
        jobs = Jobs(int(waiting), int(running), float(age))
    except ValueError:
        raise _refusal("answers something else than the engine's") from None
    if not (0 <= min(jobs[:2]) <= max(jobs[:2]) < 1 << 63 and math.isfinite(jobs.age)):
        raise _refusal("answers something else than the engine's")
    return one_line(job_type.decode(errors="replace"), NAME_LIMIT), jobs._replace(age=max(0.0, jobs.age))


@contextmanager
def _no_connection(relays: list[Relay]) -> Iterator[None]:
    """Raise as DegradedError why there is no connection. The library gives no codes for that."""
    try:
        yield
    except Error:
        if any(relay.answered for relay in relays):
            sentence = "refuses the connection: check user, password, dbname and sslmode"
            raise _refusal(sentence) from None
        raise _silence("gives no answer: check its address, and NetworkPolicies") from None


def _failure(error: Error | OSError | UnicodeError) -> DegradedError:
    match error:
        case TimeoutError() | errors.QueryCanceled():
            return _silence(f"takes more than {STATEMENT_S} s to count its jobs")
        case errors.UndefinedTable() | errors.UndefinedColumn():
            return _refusal("has no table job or workflow_instance with the engine's columns")
        case errors.InsufficientPrivilege():
            return _refusal("lets the account read neither job nor workflow_instance: GRANT SELECT on both")
        case Error() if error.sqlstate is not None and _STATE.fullmatch(error.sqlstate):
            return _refusal(f"refuses the query with SQLSTATE {error.sqlstate}")
    return _silence("has broken off the connection")


def _refusal(what: str) -> DegradedError:
    return DegradedError(Reason.DATABASE_REFUSES, f"the engine's database {what}")


def _silence(what: str) -> DegradedError:
    return DegradedError(Reason.DATABASE_UNREACHABLE, f"the engine's database {what}")
