"""A call to a service that knows Idempotency-Key: the job's id is the key, so the service does it once."""

import os

import httpx

from rochallor_worker import Job, NonRetryableError, Registry

PAYMENTS = os.environ.get("PAYMENTS_URL", "http://payments:8000")
registry = Registry()


@registry.handler("charge-card", timeout=20)
async def charge(job: Job) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=PAYMENTS, timeout=10) as http:
        answer = await http.post(
            "/charges", json={"amount": job.variables["amount"]}, headers={"Idempotency-Key": job.id}
        )
    if answer.status_code == 402:
        raise NonRetryableError("the card is declined")
    answer.raise_for_status()  # anything else may be better the next time
    return {"charge": answer.json()["id"]}
