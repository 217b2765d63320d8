"""A runner whose jobs come from Kafka, without a broker: topics of one partition, filled from a dev engine's outbox."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rochallor_worker import Job, Runner
from rochallor_worker.devengine.messages import dispatch_event
from rochallor_worker.devengine.records import Generation
from rochallor_worker.engine._pb.workflow.v1.dispatch_pb2 import JobDispatchEvent
from rochallor_worker.source.kafka import topic
from rochallor_worker.source.kafka.connection import Kafka
from unit.worker.engines import FaultyEngine, loop_time
from unit.worker.killable import KillableJournal
from unit.worker.running import registry_of

if TYPE_CHECKING:
    from rochallor_worker.events import Event

COMMIT_SECONDS = 1.0


@dataclass
class Message:
    """A record as the client returns it."""

    of: str
    place: int
    content: bytes

    def topic(self) -> str:
        return self.of

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.place

    def value(self) -> bytes:
        return self.content

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None


class Brokers:
    """What was published on each topic, and which offset is committed."""

    def __init__(self, engine: FaultyEngine) -> None:
        self._outbox = engine.state.outbox
        self.log: defaultdict[str, list[Message]] = defaultdict(list)
        self.committed: defaultdict[str, int] = defaultdict(int)

    def publish(self, event: JobDispatchEvent) -> None:
        name = f"workflow.jobs.{event.job_type}"
        self.log[name].append(Message(name, len(self.log[name]), event.SerializeToString()))

    def relay(self) -> None:
        """Publish what the engine dispatches."""
        for event in self._outbox.waiting:
            self.publish(dispatch_event(event))
        for event in self._outbox.waiting:
            self._outbox.published([event])

    @property
    def all_committed(self) -> bool:
        return all(self.committed[name] == len(records) for name, records in self.log.items())


class Consumer:
    """Stands in for the client: fetches what there is room for, and commits each second."""

    brokers: Brokers

    def __init__(self, _kafka: Kafka, job_type: str, _client_id: str, listener: topic.Topic, room: int) -> None:
        self.topic = f"workflow.jobs.{job_type}"
        self.problem, self.stuck, self.ownership_verified = None, False, True
        self.paused: frozenset[int] = frozenset()
        self._brokers = self.brokers
        self._listener = listener
        self._room = room
        self._waiting: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        self._listener.assigned([0])
        position, commit_at = self._brokers.committed[self.topic], loop_time() + COMMIT_SECONDS
        while True:
            self._brokers.relay()
            found = self._brokers.log[self.topic][position : position + self._room]
            if found:
                position += len(found)
                self._room -= len(found)
                self._listener.received(cast("Any", found))
            if loop_time() >= commit_at:
                self._commit()
                commit_at = loop_time() + COMMIT_SECONDS
            await asyncio.sleep(0.01)

    def _commit(self) -> None:
        if self._waiting:
            self._brokers.committed[self.topic] = self._waiting[0]
            self._listener.committed(self._waiting)
            self._waiting = {}

    def make_room(self, count: int) -> None:
        self._room += count

    def commit(self, partition: int, offset: int) -> None:
        self._waiting[partition] = offset

    def free(self, size: int) -> None:
        pass

    def pause(self, _: frozenset[int]) -> None:
        pass

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._commit()


class KafkaWorker:
    """A worker with a journal, which may be killed at any moment and started again."""

    def __init__(
        self,
        engine: FaultyEngine,
        brokers: Brokers,
        folder: Path,
        options: dict[str, Any],
        **handlers: Callable[[Job], Any],
    ) -> None:
        self.events: list[Event] = []
        self._engine, self._folder, self._options = engine, folder, options
        self._registry = registry_of(**handlers)
        Consumer.brokers = brokers
        self.start()

    def start(self) -> None:
        self._journal = KillableJournal(self._folder)
        kafka = Kafka("broker:9092", dedup_window=0)  # only the journal remembers
        options = {"clock": loop_time} | self._options
        self._runner = Runner(
            self._engine, self._registry, worker_id="w", kafka=kafka, journal=self._journal, **options
        )
        self._runner.observers.append(self.events.append)
        self._task = asyncio.create_task(self._runner.run())

    async def kill(self) -> None:
        self._journal.kill()
        for one in self._runner.lanes[0].source._topics:  # type: ignore[attr-defined]
            one.consumer._task.cancel()
        victims = [self._task, *self._runner._in_flight.tasks]
        for task in victims:
            task.cancel()
        await asyncio.gather(*victims, return_exceptions=True)

    async def stop(self) -> None:
        self._runner.stop()
        await self._task


def dispatching(generation: Generation, **faults: Any) -> FaultyEngine:
    """An engine of a generation, which dispatches its jobs over Kafka."""
    engine = FaultyEngine(**faults)
    engine.state.generation = generation
    engine.state.dispatch_mode = "kafka_outbox"
    return engine
