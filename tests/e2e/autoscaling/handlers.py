"""A job that takes `seconds`. Every run is on record in the engine before it starts, as an instance of `run`."""

import asyncio
import os

from rochallor_worker import Job, Registry, RestClient

registry = Registry()


async def wave(job: Job) -> None:
    """Record the run, then take the time."""
    async with RestClient(os.environ["ROCHALLOR_ENGINE_URL"]) as engine:
        await engine.start_instance("run", {"pod": os.environ["ROCHALLOR_WORKER_ID"]}, business_key=job.id)
    await asyncio.sleep(job.variables["seconds"])


for job_type in os.environ["ROCHALLOR_JOB_TYPES"].split(","):
    registry.handler(job_type)(wave)
