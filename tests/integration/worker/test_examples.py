"""The examples in plain Python, and the handlers that the end-to-end tests replace, do what they say."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from integration.worker.conftest import worker_process
from rochallor_worker import RestClient
from rochallor_worker.devengine import DevEngine
from waiting import child

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("minimal.py", ["COMPLETED {'name': 'Ada', 'greeting': 'Hello, Ada!'}"]),
        (
            "loan.py",
            [
                "COMPLETED True",
                "COMPLETED False",
                "FAILED NonRetryableError: the variables do not fit Applicant: income: missing",
                "loan has sent 2 decisions",
            ],
        ),
    ],
)
async def test_an_example_runs(name: str, printed: list[str]) -> None:
    async with DevEngine(grpc_port=0) as engine:
        environment = {
            **os.environ,
            "ROCHALLOR_ENGINE_URL": engine.url,
            "ROCHALLOR_ENGINE_GRPC_TARGET": engine.grpc_target,
        }
        command = (sys.executable, str(EXAMPLES / "python" / name))
        async with (
            child(*command, env=environment, stdout=asyncio.subprocess.PIPE) as example,
            asyncio.timeout(60),
        ):
            output, _ = await example.communicate()
    lines = output.decode().splitlines()
    assert [line for line in lines if line.startswith(("COMPLETED", "FAILED", "loan"))] == printed
    assert example.returncode == 0


@pytest.mark.parametrize("provider", ["hpa", "keda"])
async def test_the_handler_of_an_autoscaled_example_runs(provider: str, engine: DevEngine, tmp_path: Path) -> None:
    example = EXAMPLES / f"autoscaling-{provider}"
    handlers, worker = yaml.safe_load_all((example / "worker.yaml").read_text())
    workflow = json.loads((example / "workflow.json").read_text())
    async with RestClient(engine.url) as client:
        await client.upload_definition(workflow)
        instance = await client.start_instance(workflow["id"], {"seconds": 0.01})
        async with worker_process(
            tmp_path, engine.url, code=handlers["data"]["handlers.py"], job_types=",".join(worker["spec"]["jobTypes"])
        ):
            async with asyncio.timeout(60):
                while instance.status == "ACTIVE":
                    await asyncio.sleep(0.05)
                    instance = await client.get_instance(instance.id)
    assert instance.status == "COMPLETED"
