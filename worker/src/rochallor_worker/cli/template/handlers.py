"""Handlers of your job types. A job may be redelivered after a crash: make effects idempotent by job.key."""

from rochallor_worker import Job, NonRetryableError, Registry

registry = Registry()


@registry.handler("greet", timeout=10)
async def greet(job: Job) -> dict[str, str]:
    """Return variables for the instance; raise an exception to have the job retried."""
    name = job.variables.get("name")
    if not isinstance(name, str) or not name:
        raise NonRetryableError("the variable name is required")  # a retry cannot help
    job.log.info("greeting", name=name)
    return {"greeting": f"Hello, {name}!"}
