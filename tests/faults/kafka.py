"""Faults of workers with jobs from a real Kafka: of its brokers, of the consumer group, of the engine beside it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

from cluster.kafka import Broker
from faults.engine import met, restart
from faults.fleet import A, D
from faults.leases import poisoned
from faults.site import TRANSPORTS, Site, nothing, over_each, site_on
from faults.suite import NO_FAULT, Suite
from faults.worker import JOB_S, frozen, killed
from integration.engine.pki import Authority
from rochallor_worker.devengine import Fault
from rochallor_worker.source.kafka.consumer import SESSION_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from faults.result import Jobs
    from faults.site import Transport
    from faults.suite import Trial

PARTITIONS = 6
STORM_ROUNDS = 3


@contextmanager
def brokers() -> Iterator[Broker]:
    """Run a broker."""
    with TemporaryDirectory() as folder:
        identity = Authority.make(Path(folder) / "pki").issue("broker")
        with Broker(identity.cert, identity.key) as running:
            yield running


@asynccontextmanager
async def dispatched(broker: Broker, trial: Trial, *transports: Transport) -> AsyncIterator[Site]:
    """Set up a site with jobs from Kafka, and outcomes over each of the transports; without any, over REST and gRPC."""
    async with trial.fleet.engine(dispatch_mode="kafka_outbox", kafka=broker.bootstrap) as engine:
        shared = {
            "transport": "kafka",
            "kafka_bootstrap_servers": broker.bootstrap,
            "engine_url": engine.url,
            "engine_grpc_target": engine.grpc_target,
        }
        settings = {
            f"{outcomes}-{uuid4().hex[:8]}": {**shared, "outcome_transport": outcomes}
            for outcomes in transports or TRANSPORTS
        }
        for job_type in settings:
            await asyncio.to_thread(broker.create_topic, f"workflow.jobs.{job_type}", PARTITIONS)
        async with site_on(trial, engine, settings) as here:
            yield here


def dispatching(fault: Callable[[Site], Awaitable[None]]) -> Callable[[Broker, Trial], Awaitable[Jobs]]:
    """Inject a fault of the engine beside Kafka."""

    async def play(broker: Broker, trial: Trial) -> Jobs:
        async def over(transport: Transport, half: Trial) -> Jobs:
            async with dispatched(broker, half, transport) as here:
                # a Fail without an answer is sent again, since nothing else would bring its job back
                here.fails = trial.fleet.fenced
                return await here.inject(lambda: fault(here))

        return await over_each(trial, over)

    return play


async def no_fault(broker: Broker, trial: Trial) -> Jobs:
    """No fault, for comparison."""
    async with dispatched(broker, trial) as here:
        return await here.inject(nothing, seconds=JOB_S)


async def broker_restart(_: Broker, trial: Trial) -> Jobs:
    """The broker is killed, and restarted with what it had on disk."""
    own = brokers()
    broker = await asyncio.to_thread(own.__enter__)
    try:
        async with dispatched(broker, trial) as here:

            async def crash() -> None:
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(trial.size.lease / 2)
                await asyncio.to_thread(broker.start)

            return await here.inject(crash, seconds=JOB_S)
    finally:
        await asyncio.to_thread(own.__exit__, None, None, None)


async def partitions_added(broker: Broker, trial: Trial) -> Jobs:
    """Topics get more partitions, so that an instance's later jobs are in another one."""
    async with dispatched(broker, trial) as here:

        async def add() -> None:
            for job_type in here.settings:
                await asyncio.to_thread(broker.add_partitions, f"workflow.jobs.{job_type}", 2 * PARTITIONS)

        return await here.inject(add, seconds=JOB_S)


async def rebalance_storm(broker: Broker, trial: Trial) -> Jobs:
    """Workers come and go, two at a time, and partitions move with them."""
    async with dispatched(broker, trial) as here:

        async def storm() -> None:
            for _ in range(STORM_ROUNDS):
                leaving = here.running.copy()
                for job_type in here.settings:
                    await here.run(job_type)
                await here.progress(trial.size.jobs // 10)
                await asyncio.gather(*(here.stop(worker) for worker in list(leaving)[: len(here.settings)]))

        return await here.inject(storm, seconds=JOB_S, each=2)


async def sigkill(broker: Broker, trial: Trial) -> Jobs:
    """Workers are killed at random instants and started again.

    On unfenced engines no handler fails: a job whose Fail is sent but whose offset is not committed is redelivered, and
    they accept the second Fail even after the retry has completed (docs/guarantees.md).
    """
    async with dispatched(broker, trial) as here:
        here.fails = trial.fleet.fenced
        return await killed(here)


async def sigstop(broker: Broker, trial: Trial) -> Jobs:
    """One of two workers is frozen until the group has given its partitions to the other; then it goes on."""
    async with dispatched(broker, trial) as here:
        return await frozen(here, SESSION_SECONDS + trial.size.lease)


async def poison(broker: Broker, trial: Trial) -> Jobs:
    """A job kills its worker whenever it runs."""
    async with dispatched(broker, trial) as here:
        here.fails = trial.fleet.fenced
        return await poisoned(here)


KAFKA = Suite(
    "Kafka",
    brokers,
    {
        NO_FAULT: no_fault,
        "lost complete request": dispatching(met("complete_job", Fault(times=0), 10)),
        "lost complete answer": dispatching(met("complete_job", Fault(answer="lost"), 10)),
        "engine restart": dispatching(restart),
        "broker restart": broker_restart,
        "partitions added": partitions_added,
        "rebalance storm": rebalance_storm,
        "SIGKILL or OOM": sigkill,
        "SIGSTOP past the session": sigstop,
        "job that kills its worker": poison,
    },
    fleets=(A, D),  # C and D differ only in leases, and here there are none
    crucial=dict.fromkeys(("lost complete answer", "SIGKILL or OOM", "job that kills its worker"), (A, D)),
    at_once=6,
)
