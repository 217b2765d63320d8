"""Once per operation, at a service that knows Idempotency-Key: the order's number is the key.

Some services repeat a refusal for a known key, too. Then add to the key what a person changes before a manual retry,
such as the card.
"""

import os

import aiohttp

from rochallor_worker import Job, NonRetryableError, Registry, postpone_from

PAYMENTS = os.environ.get("PAYMENTS_URL", "http://payments:8000")
registry = Registry()


@registry.handler("charge-card", timeout=20)
async def charge(job: Job) -> dict[str, str]:
    amount, key = {"amount": job.variables["amount"]}, {"Idempotency-Key": f"charge-{job.variables['order']}"}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as http,
        http.post(f"{PAYMENTS}/charges", json=amount, headers=key) as answer,
    ):
        if answer.status == 402:
            raise NonRetryableError("the card is declined")
        if answer.status in {429, 503}:
            raise postpone_from(answer)  # not now: it says when
        answer.raise_for_status()  # any other failure may pass: retry
        return {"charge": (await answer.json())["id"]}
