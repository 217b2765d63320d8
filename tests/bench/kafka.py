"""`make bench`: a worker process whose jobs come from a real Kafka; prints a line per scenario, asserts nothing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.worker import HANDLERS, completed, engine, start, upload, worker
from cluster.kafka import Broker
from integration.engine.pki import Authority

PARTITIONS = 6


def main() -> None:
    """Run every scenario."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "bench_handlers.py").write_text(HANDLERS, encoding="utf-8")
        identity = Authority.make(home / "pki").issue("broker")
        with Broker(identity.cert, identity.key) as broker:
            for job_type in ("noop", "brief"):
                broker.create_topic(f"workflow.jobs.{job_type}", PARTITIONS)
            asyncio.run(throughput(home, broker, "noop", 5000))
            asyncio.run(throughput(home, broker, "brief", 3000))


async def throughput(folder: Path, broker: Broker, job_type: str, jobs: int) -> None:
    """Jobs that are all in the topic when the worker starts, from the first end to the last."""
    async with engine(folder, "--kafka", broker.bootstrap) as (url, client, _):
        await upload(client, job_type)
        await start(client, jobs)
        settings = {"transport": "kafka", "kafka_bootstrap_servers": broker.bootstrap, "job_types": job_type}
        async with worker(folder, url, **settings) as running:
            first = await completed(client, 1)
            began = time.perf_counter()
            cpu_before = await running.metric("process_cpu_seconds_total")
            await completed(client, jobs)
            seconds = time.perf_counter() - began
            cpu = await running.metric("process_cpu_seconds_total") - cpu_before
            runs = await running.metric("rochallor_worker_handler_seconds_count")
    done = jobs - first
    print(
        f"Kafka, {PARTITIONS} partitions, {jobs} {job_type} jobs: {done / seconds:.0f} jobs/s, "
        f"{cpu / done * 1000:.2f} ms CPU a job, {runs - jobs:.0f} runs too many"
    )


if __name__ == "__main__":
    main()
