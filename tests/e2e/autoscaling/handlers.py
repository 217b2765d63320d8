"""A job that takes `seconds`, or runs until there is an instance of `run` with the business key `until`.

Each run is recorded in the engine before it starts, as an instance of `run`.
"""

import asyncio
import os

from rochallor_worker import Job, Registry, RestClient

registry = Registry()


async def wave(job: Job) -> None:
    """Record the run, then wait."""
    until = job.variables.get("until")
    async with RestClient(os.environ["ROCHALLOR_ENGINE_URL"]) as engine:
        await engine.start_instance("run", {"pod": os.environ["ROCHALLOR_WORKER_ID"]}, business_key=job.id)
        # The engine has no notification of new instances.
        while until and not (await engine.list_instances(definition_id="run", business_key=until)).items:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    await asyncio.sleep(job.variables.get("seconds", 0))


for job_type in os.environ["ROCHALLOR_JOB_TYPES"].split(","):
    registry.handler(job_type)(wave)
