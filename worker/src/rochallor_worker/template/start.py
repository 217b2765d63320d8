"""Run with: python start.py — starts one instance of a workflow and prints how it ended."""

import asyncio
import os

from rochallor_worker import RestClient

DEFINITION = {
    "id": "greeting",
    "name": "Greeting",
    "steps": [
        {
            "id": "greet",
            "name": "Greet",
            "type": "SERVICE_TASK",
            "jobType": "greet",
            "retryCount": 2,
            "nextStep": "end",
        },
        {"id": "end", "name": "End", "type": "END"},
    ],
}


async def main() -> None:
    async with RestClient(os.environ.get("ROCHALLOR_ENGINE_URL", "http://127.0.0.1:8080")) as engine:
        await engine.upload_definition(DEFINITION)
        instance = await engine.start_instance("greeting", {"name": "Ada"})
        while instance.status == "ACTIVE":
            await asyncio.sleep(0.05)
            instance = await engine.get_instance(instance.id)
        print(instance.status, instance.variables)


if __name__ == "__main__":
    asyncio.run(main())
