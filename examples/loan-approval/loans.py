"""The tasks of two workflows: `loan-approval` checks, scores and decides; `loan-payout` follows, pays and notifies."""

import asyncio

from rules import LOWEST_SCORE, score

from rochallor_worker import Job, NonRetryableError, Registry

RETRY_COUNT = 3  # of each task in the definitions
registry = Registry()


@registry.handler("loan-check")
async def check(job: Job) -> None:
    """An incomplete application stays incomplete, so no retry can help: FAILED at once."""
    missing = [name for name in ("applicant", "income", "amount") if name not in job.variables]
    if missing:
        raise NonRetryableError(f"the application lacks {', '.join(missing)}")


@registry.handler("loan-score", timeout=5)
async def rate(job: Job) -> dict[str, int]:
    """The credit bureau does not answer the first time. Any exception but NonRetryableError means a retry."""
    await asyncio.sleep(0.02)
    if job.retries_remaining == RETRY_COUNT:
        raise TimeoutError("the credit bureau does not answer")
    return {"score": score(job.variables["income"], job.variables["amount"])}


@registry.handler("loan-decide")
def decide(job: Job) -> dict[str, bool]:
    """A plain function runs in a thread of its own."""
    return {"approved": job.variables["score"] >= LOWEST_SCORE}


@registry.handler("loan-pay")
async def pay(job: Job) -> dict[str, str]:
    """A payment may be asked for twice, after a crash: the bank knows it again by the job's key."""
    return {"payment": job.key}


@registry.handler("loan-notify")
async def notify(job: Job) -> None:
    """Each line that a handler logs carries its job's id."""
    job.log.info("decision sent", applicant=job.variables["applicant"], approved=job.variables["approved"])
