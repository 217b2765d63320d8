"""Order is kept within a job type of an instance, and not over the branches of an instance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from integration.worker.conftest import worker_process
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.definition import Definition
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.kafka import Broker

CODE = """
import asyncio
from rochallor_worker import Job, Registry

registry = Registry()
begun = set()
all_begun = asyncio.Event()

async def branch(job: Job) -> None:
    begun.add(job.job_type)
    if len(begun) == len(registry):
        all_begun.set()
    await all_begun.wait()

for job_type in JOB_TYPES:
    registry.handler(job_type)(branch)
"""
"""No branch ends before each has begun."""


async def test_branches_of_an_instance_run_side_by_side(broker: Broker, tmp_path: Path) -> None:
    job_types = [f"branch-{uuid4().hex[:8]}" for _ in range(3)]
    branches = [
        {"id": name, "name": name, "type": "SERVICE_TASK", "jobType": name, "nextStep": "join"} for name in job_types
    ]
    fork = {
        "id": "fork",
        "name": "Fork",
        "type": "PARALLEL_GATEWAY",
        "parallelNextSteps": job_types,
        "joinStep": "join",
    }
    ends = [
        {"id": "join", "name": "Join", "type": "JOIN_GATEWAY", "nextStep": "end"},
        {"id": "end", "name": "End", "type": "END"},
    ]
    definition = {"id": "d", "name": "D", "steps": [fork, *branches, *ends]}
    for job_type in job_types:
        await asyncio.to_thread(broker.create_topic, f"workflow.jobs.{job_type}", 1)
    async with DevEngine(dispatch_mode="kafka_outbox", kafka=broker.bootstrap) as engine:
        engine.state.definitions.upload(msgspec.convert(definition, Definition))
        settings = {"transport": "kafka", "kafka_bootstrap_servers": broker.bootstrap}
        code = CODE.replace("JOB_TYPES", repr(job_types))
        async with worker_process(tmp_path, engine.url, code=code, **settings) as worker:
            await worker.started()
            instance = engine.state.start("d", variables={})
            await until(lambda: instance.status == "COMPLETED")
