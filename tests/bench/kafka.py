"""A worker whose jobs come from a real Kafka."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.load import completed, start, upload
from bench.processes import engine, worker
from cluster.kafka import Broker
from integration.engine.pki import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PARTITIONS = 6
NAMES = {"rest": "REST", "grpc": "gRPC"}


async def dispatched(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """(scenario, figures) for jobs that do nothing and for jobs of 100 ms, with outcomes over either transport."""
    identity = Authority.make(folder / "pki").issue("broker")
    with Broker(identity.cert, identity.key) as broker:
        for job_type, jobs, what in (("noop", 5000, "no-op jobs"), ("brief", 3000, "jobs of 100 ms on 64 slots")):
            broker.create_topic(f"workflow.jobs.{job_type}", PARTITIONS)
            for outcomes in ("rest", "grpc"):
                scenario = f"Kafka, {PARTITIONS} partitions, {jobs:,} {what}, outcomes over {NAMES[outcomes]}"
                yield scenario, await _run(folder, broker, job_type, jobs, outcomes)


async def _run(folder: Path, broker: Broker, job_type: str, jobs: int, outcomes: str) -> str:
    """Jobs that are all in the topic when the worker starts, from the first end to the last."""
    async with engine(folder, "--kafka", broker.bootstrap) as there:
        await upload(there.client, job_type)
        await start(there.client, jobs)
        settings = {
            "transport": "kafka",
            "kafka_bootstrap_servers": broker.bootstrap,
            "job_types": job_type,
            "outcome_transport": outcomes,
            "engine_grpc_target": there.grpc,
        }
        async with worker(folder, engine_url=there.url, **settings) as running:
            first = await completed(there.client, 1)
            began, cpu_before = time.perf_counter(), running.cpu_seconds
            await completed(there.client, jobs)
            seconds, cpu = time.perf_counter() - began, running.cpu_seconds - cpu_before
            runs = await running.metric("rochallor_worker_handler_seconds_count")
    done = jobs - first
    return f"{done / seconds:,.0f} jobs/s, {cpu / done * 1000:.2f} ms CPU a job, {runs - jobs:.0f} runs too many"
