"""A ledger in PostgreSQL: typed input and results, and one pool of connections for all jobs of the process."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from psycopg_pool import AsyncConnectionPool

from rochallor_worker import Registry, State, Worker

DATABASE = os.environ.get("DATABASE_URL", "postgresql://postgres@localhost/postgres")
TABLE = "CREATE TABLE IF NOT EXISTS credit (transfer text PRIMARY KEY, account text, amount numeric)"


@dataclass
class Transfer:
    transfer: str
    account: str
    amount: Decimal


@dataclass
class Balance:
    balance: Decimal


@asynccontextmanager
async def lifespan(_: Worker) -> AsyncIterator[dict[str, Any]]:
    """The pool is open before the first job and closed after the last. Without a database, no job is taken."""
    async with AsyncConnectionPool(DATABASE, open=False) as pool:
        async with pool.connection() as connection:
            await connection.execute(TABLE)
        yield {"ledger": pool}


registry = Registry(lifespan=lifespan)


@registry.handler("credit", timeout=20)
async def credit(transfer: Transfer, ledger: Annotated[AsyncConnectionPool, State("ledger")]) -> Balance:
    """Credit an account once per transfer, however often its job runs: the transfer's number is a row's key."""
    async with ledger.connection() as connection:  # one transaction
        row = (transfer.transfer, transfer.account, transfer.amount)
        await connection.execute("INSERT INTO credit VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", row)
        total = await connection.execute("SELECT sum(amount) FROM credit WHERE account = %s", [transfer.account])
        [balance] = await total.fetchone()
    return Balance(balance)
