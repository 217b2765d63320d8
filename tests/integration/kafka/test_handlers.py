"""What a handler can say, over a real Kafka: a process of its own, not now, and a breaker."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from integration.kafka.workers import site
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.kafka import Broker

PROCESSES = """
import os, ctypes
from rochallor_worker import Registry

registry = Registry()

@registry.handler("JOB_TYPE", executor="process")
def work(job):
    if job.variables["n"] % 5 == 0 and job.retries_remaining == 2:
        ctypes.string_at(0)
    return {"process": os.getpid()}
"""
POSTPONE = """
import os
from rochallor_worker import Postpone, Registry

registry = Registry()

@registry.handler("JOB_TYPE")
async def work(job):
    if os.path.exists("closed"):
        raise Postpone("the shop is closed", after=0.2)
"""
BREAKER = """
import os
from rochallor_worker import Registry

registry = Registry()

@registry.handler("JOB_TYPE")
async def work(job):
    if os.path.exists("down"):
        raise ConnectionError("no answer")
"""


async def test_a_handler_in_a_process_that_crashes_costs_one_attempt(broker: Broker, tmp_path: Path) -> None:
    async with site(broker, tmp_path) as here:
        here.start(40)
        async with here.worker_of(PROCESSES, processes="2") as worker:
            await worker.started()
            await here.until_ended(40)
            await here.until_committed()
            found = {instance.variables["process"] for instance in here.engine.state.instances.values()}
            assert worker.process.pid not in found
            assert await worker.metric("rochallor_worker_slots") == 2
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
        assert worker.log.count("killed by SIGSEGV") == 8


async def test_a_postponed_record_waits_in_its_place(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "closed").touch()
    async with site(broker, tmp_path) as here:
        here.start(30)
        async with here.worker_of(POSTPONE, parallelism="4") as worker:
            await worker.started()
            await until(lambda: worker.log.count("the shop is closed") >= 60)
            await worker.shows("rochallor_worker_kafka_lag", 30)
            (tmp_path / "closed").unlink()
            await here.until_ended(30)
            await here.until_committed()
        assert not any(one.retries_remaining < 2 for one in here.engine.state.jobs.values())


async def test_a_drain_leaves_postponed_records_to_the_next_worker(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "closed").touch()
    async with site(broker, tmp_path) as here:
        here.start(30)
        async with here.worker_of(POSTPONE.replace("0.2", "3600")) as worker:
            await worker.started()
            await until(lambda: worker.log.count("the shop is closed") == 30)
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
        (tmp_path / "closed").unlink()
        async with here.worker_of(POSTPONE.replace("0.2", "3600")):
            await here.until_ended(30)
            await here.until_committed()


async def test_no_instance_fails_while_what_its_handler_needs_is_down(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "down").touch()
    async with site(broker, tmp_path) as here:
        here.start(200)
        async with here.worker_of(BREAKER) as worker:
            await worker.started()
            await until(lambda: "the breaker has opened" in worker.log)
            await worker.answers("/readyz", 200)
            assert await worker.metric("rochallor_worker_breaker_open") == 1
            await until(lambda: worker.log.count("no answer") > 22)  # probes too
            (tmp_path / "down").unlink()
            await here.until_ended(200)
            await here.until_committed()
        spent = sum(2 - one.retries_remaining for one in here.engine.state.jobs.values())
        assert spent <= 20
