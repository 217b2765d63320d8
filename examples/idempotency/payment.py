"""A call to a service that knows Idempotency-Key: the job's id is the key, so the service does it once."""

import os

import aiohttp

from rochallor_worker import Job, NonRetryableError, Registry

PAYMENTS = os.environ.get("PAYMENTS_URL", "http://payments:8000")
registry = Registry()


@registry.handler("charge-card", timeout=20)
async def charge(job: Job) -> dict[str, str]:
    amount, key = {"amount": job.variables["amount"]}, {"Idempotency-Key": job.id}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as http,
        http.post(f"{PAYMENTS}/charges", json=amount, headers=key) as answer,
    ):
        if answer.status == 402:
            raise NonRetryableError("the card is declined")
        answer.raise_for_status()  # anything else may be better the next time
        return {"charge": (await answer.json())["id"]}
