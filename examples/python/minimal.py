"""A minimal worker: one handler, over REST, from plain Python.

rochallor-worker dev-engine &
python examples/python/minimal.py
"""

import asyncio
import os

from rochallor_worker import Job, Registry, RestClient, Runner

registry = Registry()


@registry.handler("greet")
async def greet(job: Job) -> dict[str, str]:
    return {"greeting": f"Hello, {job.variables['name']}!"}


DEFINITION = {
    "id": "greeting",
    "name": "Greeting",
    "steps": [
        {"id": "greet", "name": "Greet", "type": "SERVICE_TASK", "jobType": "greet", "nextStep": "end"},
        {"id": "end", "name": "End", "type": "END"},
    ],
}


async def main() -> None:
    async with RestClient(os.environ.get("ROCHALLOR_ENGINE_URL", "http://127.0.0.1:8080")) as engine:
        runner = Runner(engine, registry, worker_id="minimal")
        working = asyncio.create_task(runner.run())
        await engine.upload_definition(DEFINITION)
        instance = await engine.start_instance("greeting", {"name": "Ada"})
        while instance.status == "ACTIVE":
            await asyncio.sleep(0.05)
            instance = await engine.get_instance(instance.id)
        print(instance.status, instance.variables)
        runner.stop()
        await working


if __name__ == "__main__":
    asyncio.run(main())
