"""A job that takes `seconds`, or goes on until there is an instance of `run` with the business key `until`.

Every run is on record in the engine before it starts, as an instance of `run`.
"""

import asyncio
import os

from rochallor_worker import Job, Registry, RestClient

registry = Registry()


async def wave(job: Job) -> None:
    """Record the run, then take the time."""
    until = job.variables.get("until")
    async with RestClient(os.environ["ROCHALLOR_ENGINE_URL"]) as engine:
        await engine.start_instance("run", {"pod": os.environ["ROCHALLOR_WORKER_ID"]}, business_key=job.id)
        # The engine tells nobody of an instance.
        while until and not (await engine.list_instances(definition_id="run", business_key=until)).items:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    await asyncio.sleep(job.variables.get("seconds", 0))


for job_type in os.environ["ROCHALLOR_JOB_TYPES"].split(","):
    registry.handler(job_type)(wave)
