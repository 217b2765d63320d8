"""Run with: python start.py — starts one instance of a workflow and prints how it ended."""

import asyncio
import os
import sys
import time

from rochallor_worker import EngineError, RestClient

LIMIT_SECONDS = 30
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
        started = time.monotonic()
        while instance.status == "ACTIVE":
            if time.monotonic() - started > LIMIT_SECONDS:
                steps = ", ".join(instance.current_step_ids or ())
                sys.exit(f"still ACTIVE after {LIMIT_SECONDS} s at step {steps}: is a worker running? See its log")
            await asyncio.sleep(0.05)
            instance = await engine.get_instance(instance.id)
        print(instance.status, instance.variables)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except EngineError as error:  # such as no engine at this address: the text says it, no traceback is needed
        sys.exit(str(error))
