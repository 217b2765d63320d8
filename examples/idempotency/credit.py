"""An effect in a database: the job's id goes into the same transaction, so a second run finds it done."""

import os
import sqlite3
from contextlib import closing

from rochallor_worker import Job, Registry

DATABASE = os.environ.get("LEDGER", "ledger.db")
registry = Registry()


@registry.handler("credit")
def credit(job: Job) -> dict[str, int]:
    with closing(sqlite3.connect(DATABASE)) as database, database:  # one transaction
        database.execute("CREATE TABLE IF NOT EXISTS credit (job_id TEXT PRIMARY KEY, amount INTEGER)")
        database.execute(
            "INSERT INTO credit VALUES (?, ?) ON CONFLICT (job_id) DO NOTHING", (job.id, job.variables["amount"])
        )
        [balance] = database.execute("SELECT sum(amount) FROM credit").fetchone()
    return {"balance": balance}
