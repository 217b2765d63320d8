"""The examples of plain Python use do what they say."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from rochallor_worker.devengine import DevEngine

EXAMPLES = Path(__file__).parents[3] / "examples" / "python"


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("minimal.py", ["COMPLETED {'name': 'Ada', 'greeting': 'Hello, Ada!'}"]),
        ("loan.py", ["COMPLETED True", "COMPLETED False", "FAILED NonRetryableError: income is required"]),
    ],
)
async def test_an_example_runs(name: str, printed: list[str]) -> None:
    async with DevEngine(grpc_port=0) as engine:
        environment = {
            **os.environ,
            "ROCHALLOR_ENGINE_URL": engine.url,
            "ROCHALLOR_ENGINE_GRPC_TARGET": engine.grpc_target,
        }
        example = await asyncio.create_subprocess_exec(
            sys.executable, str(EXAMPLES / name), env=environment, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            output, _ = await example.communicate()
    lines = output.decode().splitlines()
    assert [line for line in lines if line.startswith(("COMPLETED", "FAILED"))] == printed
    assert example.returncode == 0
