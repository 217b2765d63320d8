"""The example of Kafka from plain Python does what it describes."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rochallor_worker.devengine import DevEngine
from waiting import child

if TYPE_CHECKING:
    from cluster.kafka import Broker

EXAMPLE = Path(__file__).parents[3] / "examples" / "python" / "kafka.py"


async def test_the_example_runs(broker: Broker) -> None:
    await asyncio.to_thread(broker.create_topic, "workflow.jobs.greet-by-kafka", 6)
    async with DevEngine(dispatch_mode="kafka_outbox", kafka=broker.bootstrap) as engine:
        environment = {
            **os.environ,
            "ROCHALLOR_ENGINE_URL": engine.url,
            "ROCHALLOR_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
        }
        command = (sys.executable, str(EXAMPLE))
        async with child(*command, env=environment, stdout=asyncio.subprocess.PIPE) as example, asyncio.timeout(60):
            output, _ = await example.communicate()
    lines = [line for line in output.decode().splitlines() if line.startswith("COMPLETED")]
    assert lines == [
        "COMPLETED {'name': 'Ada', 'greeting': 'Hello, Ada!'}",
        "COMPLETED {'name': 'Grace', 'greeting': 'Hello, Grace!'}",
    ]
    assert example.returncode == 0
