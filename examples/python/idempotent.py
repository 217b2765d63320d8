"""At-least-once made harmless: an effect that happens once per job, however often the job comes.

A worker that dies after the effect and before its outcome is delivered gets the job again. The effect's own database
remembers the job's id in the same transaction, so the second run finds it done.

    rochallor-worker dev-engine &
    python examples/python/idempotent.py
"""

import asyncio
import os
import sqlite3
from contextlib import closing

from rochallor_worker import Job, Registry, RestClient, Runner

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
    if job.retries_remaining:  # the first run ends here, after its effect
        raise ConnectionError("lost the way home")
    return {"balance": balance}


DEFINITION = {
    "id": "credit",
    "name": "Credit",
    "steps": [
        {
            "id": "credit",
            "name": "Credit",
            "type": "SERVICE_TASK",
            "jobType": "credit",
            "retryCount": 1,
            "nextStep": "end",
        },
        {"id": "end", "name": "End", "type": "END"},
    ],
}


async def main() -> None:
    async with RestClient(os.environ.get("ROCHALLOR_ENGINE_URL", "http://127.0.0.1:8080")) as engine:
        runner = Runner(engine, registry, worker_id="idempotent")
        working = asyncio.create_task(runner.run())
        await engine.upload_definition(DEFINITION)
        instance = await engine.start_instance("credit", {"amount": 100})
        while instance.status == "ACTIVE":
            await asyncio.sleep(0.05)
            instance = await engine.get_instance(instance.id)
        print(instance.status, instance.variables)
        runner.stop()
        await working


if __name__ == "__main__":
    asyncio.run(main())
