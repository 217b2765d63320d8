"""Worker processes that take their jobs from Kafka, and an engine that dispatches there."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from integration.worker.conftest import Worker, worker_process
from rochallor_worker.devengine import DevEngine
from rochallor_worker.devengine.definition import Definition
from waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from cluster.kafka import Broker
    from rochallor_worker.devengine.records import Generation

CODE = """
import asyncio, os
from rochallor_worker import Job, NonRetryableError, Registry

registry = Registry()

def note(what, job):
    with open("runs", "a") as file:
        file.write(f"{what} {os.getpid()} {job.instance_id} {job.id}\\n")

@registry.handler("JOB_TYPE")
async def work(job: Job) -> dict:
    note("begin", job)
    await asyncio.sleep(SECONDS)
    while os.path.exists("hold"):
        await asyncio.sleep(0.01)
    note("end", job)
    if job.variables.get("fail") == "once" and job.retries_remaining > 1:
        raise ValueError("not yet")
    if job.variables.get("fail") == "always":
        raise NonRetryableError("never")
    return {"seen": job.variables.get("n")}
"""
"""A handler that records each run, and ends none of them while the file `hold` exists."""

WITHIN_S = 90.0


@dataclass
class Site:
    """A broker, an engine that dispatches over it, and a folder for workers; one job type of its own."""

    broker: Broker
    engine: DevEngine
    folder: Path
    job_type: str

    @property
    def topic(self) -> str:
        return f"workflow.jobs.{self.job_type}"

    @property
    def group(self) -> str:
        return f"workflow.workers.{self.job_type}"

    def start(self, count: int, **variables: object) -> None:
        """Start instances of one task with two retries; `n` counts them."""
        for n in range(count):
            self.engine.state.start("d", variables={"n": n, **variables})

    def worker(self, seconds: float = 0.0, /, **settings: str) -> AbstractAsyncContextManager[Worker]:
        """A worker whose handler takes this many seconds."""
        defaults = {"transport": "kafka", "kafka_bootstrap_servers": self.broker.bootstrap, "log_level": "DEBUG"}
        code = CODE.replace("JOB_TYPE", self.job_type).replace("SECONDS", str(seconds))
        return worker_process(self.folder, self.engine.url, code=code, **(defaults | settings))

    def worker_of(self, code: str, /, **settings: str) -> AbstractAsyncContextManager[Worker]:
        """A worker with this code, in which JOB_TYPE stands for the job type."""
        defaults = {"transport": "kafka", "kafka_bootstrap_servers": self.broker.bootstrap}
        code = code.replace("JOB_TYPE", self.job_type)
        return worker_process(self.folder, self.engine.url, code=code, **(defaults | settings))

    def hold(self) -> None:
        """Let no run end until `release`."""
        (self.folder / "hold").touch()

    def release(self) -> None:
        """End `hold`."""
        (self.folder / "hold").unlink()

    def runs(self, what: str = "begin") -> list[tuple[str, str, str]]:
        """(process, instance, job) of each run so far."""
        path = self.folder / "runs"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(process, instance, job) for kind, process, instance, job in lines if kind == what]

    def jobs_of(self, worker: Worker) -> list[str]:
        """The job of each run that this worker has begun so far."""
        return [job for process, _, job in self.runs() if process == str(worker.process.pid)]

    def ended(self, status: str = "COMPLETED") -> int:
        """How many instances have ended with this status."""
        return sum(instance.status == status for instance in self.engine.state.instances.values())

    async def until_ended(self, count: int, status: str = "COMPLETED") -> None:
        """Wait until `count` instances have ended with this status."""
        await until(lambda: self.ended(status) >= count)

    async def until_committed(self) -> None:
        """Wait until everything is committed."""
        ends = await asyncio.to_thread(self.broker.end_offsets, self.topic)
        wanted = {partition: end for partition, end in ends.items() if end > 0}

        def committed() -> bool:
            found = self.broker.committed(self.group, self.topic)
            return {partition: offset for partition, offset in found.items() if offset > 0} == wanted

        async with asyncio.timeout(WITHIN_S):
            while not await asyncio.to_thread(committed):  # noqa: ASYNC110 — another process
                await asyncio.sleep(0.1)


async def has_partitions(worker: Worker) -> None:
    """Wait until its group has given it partitions."""
    await until(lambda: re.search(r'"all": \[\d', worker.log) is not None)


@asynccontextmanager
async def site(
    broker: Broker, folder: Path, *, partitions: int = 6, grpc: bool = False, generation: Generation = "fenced"
) -> AsyncIterator[Site]:
    """A site with a job type of its own; 0 partitions: no topic yet."""
    job_type = f"pick-{uuid4().hex[:8]}"
    task = {"id": "task", "name": "Task", "type": "SERVICE_TASK", "jobType": job_type, "retryCount": 2}
    end = {"id": "end", "name": "End", "type": "END"}
    definition = {"id": "d", "name": "D", "steps": [{**task, "nextStep": "end"}, end]}
    port = 0 if grpc else None
    async with DevEngine(
        dispatch_mode="kafka_outbox", kafka=broker.bootstrap, grpc_port=port, generation=generation
    ) as engine:
        engine.state.definitions.upload(msgspec.convert(definition, Definition))
        here = Site(broker, engine, folder, job_type)
        if partitions:
            await asyncio.to_thread(broker.create_topic, here.topic, partitions)
        yield here
