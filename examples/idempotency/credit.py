"""Once per operation, in a database: the transfer's number is a row's key, in the transaction of the effect.

Any further run, also after a manual retry, finds the row.
"""

import os
import sqlite3
from contextlib import closing

from rochallor_worker import Job, Registry

DATABASE = os.environ.get("LEDGER", "ledger.db")
registry = Registry()


@registry.handler("credit")
def credit(job: Job) -> dict[str, int]:
    transfer, amount = job.variables["transfer"], job.variables["amount"]
    with closing(sqlite3.connect(DATABASE)) as database, database:  # one transaction
        database.execute("CREATE TABLE IF NOT EXISTS credit (transfer TEXT PRIMARY KEY, amount INTEGER)")
        database.execute("INSERT INTO credit VALUES (?, ?) ON CONFLICT (transfer) DO NOTHING", (transfer, amount))
        [balance] = database.execute("SELECT sum(amount) FROM credit").fetchone()
    return {"balance": balance}
