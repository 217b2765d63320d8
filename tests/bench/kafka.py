"""A worker with jobs from a real Kafka; a stub engine accepts the outcomes without limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from bench.driven import Load
from bench.page import NAMES
from bench.processes import worker
from bench.promises import once
from cluster.kafka import Broker
from integration.engine.pki import Authority
from rochallor_worker.engine._pb.workflow.v1.dispatch_pb2 import JobDispatchEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bench.processes import Stub

PARTITIONS = 6
LOADS: tuple[tuple[str, Load, str], ...] = (
    ("noop", Load(20_000), "no-op jobs"),
    ("noop", Load(5_000, rate=1_000), "no-op jobs, at most 1,000 outcomes/s"),
    ("brief", Load(3_000), "jobs of 100 ms on 64 slots"),
)
"""Job type, load and what the jobs are."""


async def dispatched(engine: Stub, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Yield (scenario, figures) for no-op jobs and for jobs of 100 ms, with outcomes over each transport."""
    identity = Authority.make(folder / "pki").issue("broker")
    with Broker(identity.cert, identity.key) as broker:
        for job_type in ("noop", "brief"):
            broker.create_topic(f"workflow.jobs.{job_type}", PARTITIONS)
        for job_type, load, what in LOADS:
            for outcomes in ("rest", "grpc"):
                scenario = f"Kafka, {PARTITIONS} partitions, {load.jobs:,} {what}, outcomes over {NAMES[outcomes]}"
                yield scenario, await _run(engine, folder, broker, job_type, load, outcomes)


async def _run(engine: Stub, folder: Path, broker: Broker, job_type: str, load: Load, outcomes: str) -> str:
    """Publish jobs to a waiting worker; timed from the first start to the last outcome."""
    jobs = load.jobs
    await engine.load(jobs, rate=load.rate)
    settings = {
        "transport": "kafka",
        "kafka_bootstrap_servers": broker.bootstrap,
        "job_types": job_type,
        "outcome_transport": outcomes,
        "engine_url": engine.rest,
        "engine_grpc_target": engine.grpc,
    }
    async with worker(folder, **settings) as running:
        await running.ready()
        before = running.cpu_seconds
        await asyncio.to_thread(_publish, broker, job_type, jobs, outcomes)
        stats = await engine.ended(jobs)
        cpu = running.cpu_seconds - before
        runs = await running.metric("rochallor_worker_handler_seconds_count")
    per_job = f"{cpu / jobs * 1000:.2f} ms CPU a job"
    return f"{jobs / stats['seconds']:,.0f} jobs/s, {per_job}, {once(runs, jobs)}"


def _publish(broker: Broker, job_type: str, jobs: int, run: str) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "queue.buffering.max.messages": jobs})
    for number in range(jobs):
        event = JobDispatchEvent(
            schema_version=1,
            dedup_id=f"{run}-{number}",
            job_id=f"job-{number}",
            instance_id=f"instance-{number}",
            step_execution_id=f"step-{number}",
            job_type=job_type,
            job_payload=b'{"n":%d,"name":"Ada"}' % number,
        )
        producer.produce(f"workflow.jobs.{job_type}", event.SerializeToString(), key=event.instance_id)
    producer.flush()
