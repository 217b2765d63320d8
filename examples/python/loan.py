"""Several handlers over gRPC: an async one, a plain one, typed input, and what they share for as long as they run.

rochallor-worker dev-engine &
python examples/python/loan.py
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from rochallor_worker import GrpcClient, Job, Registry, Runner, State, Worker


@dataclass
class Applicant:
    income: int  # without it, no retry can help: the job and its instance are FAILED at once


@dataclass
class Score:
    score: int


@asynccontextmanager
async def lifespan(worker: Worker) -> AsyncIterator[dict[str, Any]]:
    """Open before the first job, closed after the last one."""
    sent: list[bool] = []  # stands for a database
    yield {"sent": sent}
    print(f"{worker.id} has sent {len(sent)} decisions")


registry = Registry(lifespan=lifespan)


@registry.handler("check-applicant", timeout=10)
async def check_applicant(applicant: Applicant) -> Score:
    return Score(min(850, 300 + applicant.income // 100))


@registry.handler("decide")
def decide(score: Score) -> dict[str, bool]:  # a plain function runs in a thread
    return {"approved": score.score >= 600}


@registry.handler("notify")
async def notify(job: Job, sent: Annotated[list[bool], State("sent")]) -> None:
    sent.append(job.variables["approved"])
    job.log.info("decision sent", approved=sent[-1])


JOB_TYPES = ["check-applicant", "decide", "notify"]
DEFINITION = {
    "id": "loan",
    "name": "Loan approval",
    "steps": [
        *(
            {
                "id": job_type,
                "name": job_type,
                "type": "SERVICE_TASK",
                "jobType": job_type,
                "retryCount": 3,
                "nextStep": following,
            }
            for job_type, following in zip(JOB_TYPES, [*JOB_TYPES[1:], "end"], strict=True)
        ),
        {"id": "end", "name": "End", "type": "END"},
    ],
}
APPLICATIONS: list[dict[str, Any]] = [{"income": 52_000}, {"income": 9_000}, {"name": "somebody without income"}]


async def main() -> None:
    async with GrpcClient(os.environ.get("ROCHALLOR_ENGINE_GRPC_TARGET", "127.0.0.1:8081")) as engine:
        runner = Runner(engine, registry, worker_id="loan")
        working = asyncio.create_task(runner.run())
        await engine.upload_definition(DEFINITION)
        started = [await engine.start_instance("loan", application) for application in APPLICATIONS]
        for instance in started:
            while (now := await engine.get_instance(instance.id)).status == "ACTIVE":
                await asyncio.sleep(0.05)
            print(now.status, now.failure_reason or (now.variables or {})["approved"])
        runner.stop()
        await working


if __name__ == "__main__":
    asyncio.run(main())
