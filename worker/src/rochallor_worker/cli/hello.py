"""The steps of the workflow `hello`: fetch an order, price it, ship it."""

import asyncio

from rochallor_worker import Job, NonRetryableError, Registry

RETRY_COUNT = 2  # of the step `ship` in the workflow's definition
registry = Registry()


@registry.handler("hello-fetch")
async def fetch(job: Job) -> dict[str, object]:
    """An async handler shares the event loop: many wait at the same time."""
    await asyncio.sleep(0.02)  # a shop's database would be asked here
    return {"item": f"item {job.variables['order']}", "unit_price": 7.5}


@registry.handler("hello-price")
def price(job: Job) -> dict[str, object]:
    """A plain function runs in a thread of its own."""
    return {"total": job.variables["quantity"] * job.variables["unit_price"]}


@registry.handler("hello-ship", timeout=10)
async def ship(job: Job) -> dict[str, object]:
    """No address: a retry can't help. Any other exception is retried, up to the step's retryCount."""
    if not job.variables["address"]:
        raise NonRetryableError("the order has no address")
    attempts = RETRY_COUNT - job.retries_remaining + 1
    if attempts == 1 and job.variables["order"] % 3 == 0:
        raise ConnectionError("the carrier does not answer")
    return {"shipped": True, "attempts": attempts}
