"""`python -m bench.clients KIND TRANSPORT ADDRESS JOBS`: clients to compare the worker with. Prints CPU seconds.

raw: polls and completes on 16 connections and does nothing else, with the worker's libraries: the upper bound.
naive: polls every 500 ms for as many jobs as it has slots, whatever is running: the loop of most workers.
Both send the start time of the job with each outcome, as the worker's handlers do.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import grpc.aio
import uvloop

from rochallor_worker.cli.process import YOUNG_OBJECTS
from rochallor_worker.engine._pb.workflow.v1 import engine_pb2 as pb
from rochallor_worker.engine.grpc.struct import from_struct, to_struct

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Poll = Callable[[int], Awaitable[list[str]]]
    Complete = Callable[[str], Awaitable[None]]
    Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]

CONNECTIONS = 16
SLOTS = 64
TICK_SECONDS = 0.5


async def raw(poll: Poll, complete: Complete, jobs: int) -> None:
    gc.freeze()  # as the worker does: this is the best it could reach
    gc.set_threshold(YOUNG_OBJECTS)
    left = jobs

    async def one() -> None:
        nonlocal left
        while left > 0:
            for job in await poll(4):
                await complete(job)
                left -= 1

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


async def naive(poll: Poll, complete: Complete, jobs: int) -> None:
    left = jobs
    while left > 0:
        claimed = await poll(SLOTS)
        await asyncio.gather(*map(complete, claimed))
        left -= len(claimed)
        await asyncio.sleep(TICK_SECONDS)


async def rest(url: str) -> AsyncIterator[tuple[Poll, Complete]]:
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=SLOTS), headers=headers) as http:

        async def poll(count: int) -> list[str]:
            body = json.dumps({"workerId": "raw", "jobTypes": ["noop"], "maxJobs": count})
            async with http.post("/v1/jobs/poll", data=body) as answer:
                return [job["id"] for job in json.loads(await answer.read())["jobs"] or []]

        async def complete(job_id: str) -> None:
            body = json.dumps({"workerId": "raw", "variables": {"started": time.time()}})
            async with http.post(f"/v1/jobs/{job_id}/complete", data=body) as answer:
                await answer.read()

        yield poll, complete


async def over_grpc(target: str) -> AsyncIterator[tuple[Poll, Complete]]:
    service = "/workflow.v1.WorkflowEngine/"
    async with grpc.aio.insecure_channel(target) as channel:
        polling: Call = channel.unary_unary(f"{service}PollJobs")
        completing: Call = channel.unary_unary(f"{service}CompleteJob")

        async def poll(count: int) -> list[str]:
            request = pb.PollJobsRequest(worker_id="raw", job_types=["noop"], max_jobs=count)
            jobs = pb.PollJobsResponse.FromString(await polling(request.SerializeToString())).jobs
            for job in jobs:
                from_struct(job.variables)  # which a worker needs
            return [job.id for job in jobs]

        async def complete(job_id: str) -> None:
            variables = to_struct({"started": time.time()})
            request = pb.CompleteJobRequest(job_id=job_id, worker_id="raw", variables_to_set=variables)
            await completing(request.SerializeToString())

        yield poll, complete


async def _main(kind: str, transport: str, address: str, jobs: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    async for poll, complete in rest(address) if transport == "rest" else over_grpc(address):
        await {"raw": raw, "naive": naive}[kind](poll, complete, jobs)
    now = resource.getrusage(resource.RUSAGE_SELF)
    print(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
