"""The consumer of one topic, on a thread of its own, which alone calls the Kafka client.

What the thread learns it hands to the event loop, in order; what the loop decides (room, offsets that are done,
partitions to hold) the thread carries out at its next turn. A turn takes a fraction of a second whatever happens, so
that the group sees a living member; only a revoked partition may wait longer, for the jobs that run.
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from rochallor_worker.source import client
from rochallor_worker.source.base import Trouble
from rochallor_worker.source.brokers import Kafka
from rochallor_worker.source.commits import FINAL_SECONDS, Commits
from rochallor_worker.source.diagnosis import Diagnosis
from rochallor_worker.source.extent import Extent
from rochallor_worker.source.listener import Listener
from rochallor_worker.source.records import group_of, topic_of

POLL_SECONDS = 0.1
"""How long one turn waits for a record."""
PAUSE_AFTER = 1.0
"""Seconds without room after which the partitions are paused; resuming one costs fetching its records again."""
LOOK_SECONDS = 2.0
"""Between two looks at what is wrong and at the lag."""
STUCK_AFTER = 120.0
"""Seconds without a turn after which only a restart helps."""
SESSION_SECONDS = 15
"""After this time without a heartbeat the brokers give a dead worker's partitions to others."""
SETTINGS = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": SESSION_SECONDS * 1000,
    "heartbeat.interval.ms": 1000,  # by its answer a member hears that partitions are to move
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    "enable.auto.commit": False,  # what is committed is what we say is done
    "enable.partition.eof": True,  # by it an empty partition shows that it can be read
    "socket.timeout.ms": 10_000,  # a silent broker holds up a worker's end for no longer
    "topic.metadata.refresh.interval.ms": 10_000,  # new partitions are noticed within this time
    # a worker needs what its slots can take, not the client's usual 64 MB and 100,000 records
    "queued.min.messages": 1000,
    "queued.max.messages.kbytes": 16 * 1024,
    "fetch.queue.backoff.ms": 20,
}

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Consumer:
    """Consumes the topic of a job type in its group. Raises `StartError` for settings the client refuses.

    Until `start` nothing is connected. `stop` leaves the group: the partitions are revoked first.
    """

    def __init__(self, kafka: Kafka, job_type: str, client_id: str, listener: Listener, room: int) -> None:
        self.topic = topic_of(job_type)
        self.paused: frozenset[int] = frozenset()
        self._kafka = kafka
        self._listener = listener
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscribed = False
        self._turned_at = time.monotonic()
        self._looked_at = float("-inf")
        self._assigned: frozenset[int] = frozenset()
        self._held: frozenset[int] = frozenset()
        self._change = threading.Condition()
        """Guards what both threads write: the next two."""
        self._room = room
        self._stopping = False
        self._ended = asyncio.Event()
        self._commits = Commits(self.topic)
        self._diagnosis = Diagnosis(self.topic, kafka.bootstrap_servers)
        self._extent = Extent(self.topic)
        self._doubts = self._dispelled = 0
        """How often the loop was in doubt, and up to which time it knows the brokers' word."""
        self._asked = 0
        """The doubt that the commit in flight is to dispel, if any."""
        self._login = client.login(kafka)
        self._client = client.make(
            confluent_kafka.Consumer,
            kafka,
            self._login,
            {
                **SETTINGS,
                "client.id": client_id,
                "group.id": group_of(job_type),
                "error_cb": self._diagnosis.complained,
                "on_commit": self._on_commit,
            },
        )
        self._thread = threading.Thread(target=self._run, name=f"kafka {job_type}", daemon=True)

    @property
    def trouble(self) -> Trouble | None:
        """Why no records come."""
        return self._diagnosis.trouble

    @property
    def stuck(self) -> bool:
        """Whether the thread does not turn any more."""
        return self._loop is not None and time.monotonic() - self._turned_at > STUCK_AFTER

    @property
    def doubtful(self) -> bool:
        """Whether the brokers may have given our partitions to others, of which the listener would not know yet."""
        return self._dispelled != self._doubts

    def left(self, partition: int, begun: int | None) -> int:
        """Return how many records a partition has from the offset `begun` on; None: no record of it has come yet."""
        return self._extent.left(partition, begun)

    # called on the event loop

    def start(self) -> None:
        """Start the thread. What it learns is told to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._turned_at = time.monotonic()
        self._thread.start()

    def make_room(self, count: int) -> None:
        """Allow for so many more records."""
        with self._change:
            self._room += count
            self._change.notify()

    def commit(self, partition: int, offset: int) -> None:
        """Everything below this offset is done: commit it within seconds."""
        self._commits.put(partition, offset)

    def doubt(self) -> None:
        """Ask the brokers whether the partitions are still ours; `doubtful` until they have said so, or `lost` came."""
        if self._loop is not None:
            self._doubts += 1

    def hold(self, partitions: frozenset[int]) -> None:
        """Fetch nothing from these partitions until told otherwise."""
        self._held = partitions

    async def stop(self) -> None:
        """Commit, leave the group and end the thread. The listener answers `revoked` meanwhile."""
        with self._change:
            self._stopping = True
            self._change.notify()
        if self._loop is not None:
            await self._ended.wait()
            self._thread.join()

    # called on the thread

    def _run(self) -> None:
        try:
            while not self._stopping and not self._topic_is_there():
                self._pause_for(LOOK_SECONDS)
            if not self._stopping:
                self._subscribed = True  # from here on a poll may give a record
                self._client.subscribe(
                    [self.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
                )
            while not self._stopping:
                try:
                    self._turn()
                except KafkaException as error:
                    self._diagnosis.complained(error.args[0])
                    self._pause_for(LOOK_SECONDS)
            # while partitions move, the brokers refuse it for a moment
            self._commits.finish_all(self._client, lambda: self._client.poll(POLL_SECONDS))
            self._client.close()
        except BaseException as error:  # noqa: BLE001 — told to the loop, which ends the worker
            self._tell(self._listener.crashed, error)
        finally:
            self._tell(self._ended.set)

    def _turn(self) -> None:
        self._turned_at = time.monotonic()
        self._commit()
        full = not self._wait_for_room()
        self._pause(self._assigned if full else self._held & self._assigned)
        if (first := self._client.poll(POLL_SECONDS)) is not None:
            # handed on at once: the next call may raise, or give the partition away
            self._hand_on([first])
            self._hand_on(self._client.consume(max(0, self._room), 0))
        if self._turned_at - self._looked_at > LOOK_SECONDS:
            self._look()

    def _hand_on(self, messages: Sequence[Message]) -> None:
        """Tell the loop of records. One that were left out would count as done as soon as a later one is."""
        for error in (message.error() for message in messages):
            if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 — a public constant
                self._diagnosis.can_read()
            else:
                self._diagnosis.refused(error)
        records = [message for message in messages if message.error() is None]
        if records:
            with self._change:
                self._room -= len(records)
            self._tell(self._listener.received, records)

    def _wait_for_room(self) -> bool:
        """Wait a little for room; at once where the partitions are paused already."""
        with self._change:
            patience = 0.0 if self._assigned and self.paused == self._assigned else PAUSE_AFTER
            return self._change.wait_for(lambda: self._room > 0 or self._stopping, patience)

    def _pause(self, wanted: frozenset[int]) -> None:
        if more := wanted - self.paused:
            self._client.pause(self._partitions(more))
        if fewer := (self.paused & self._assigned) - wanted:
            self._client.resume(self._partitions(fewer))
        self.paused = wanted

    def _commit(self) -> None:
        """Commit what is done, every second; after a standstill at once, since the brokers refuse who is given up."""
        doubts = self._doubts
        if not self.doubtful or self._commits.in_flight:
            self._commits.send(self._client)
        elif not self._assigned:
            self._tell(self._dispel, doubts)
        elif unchanged := self._unchanged():
            self._asked = doubts
            self._commits.send(self._client, unchanged)

    def _unchanged(self) -> dict[int, int]:
        """Return an offset that may be committed and changes nothing; empty if the brokers don't say."""
        number = min(self._assigned)
        offset = self._commits.taken.get(number)
        if offset is None:
            offset = self._extent.start(self._client, number)
        return {} if offset is None else {number: offset}

    def _on_commit(self, error: KafkaError | None, _: object) -> None:
        asked, self._asked = self._asked, 0
        self._commits.answered(error)
        if asked and error is None:
            self._tell(self._dispel, asked)

    def _on_assign(self, _: object, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        self._assigned |= frozenset(numbers)
        self._diagnosis.joined = True
        self._diagnosis.can_read()
        self._looked_at = float("-inf")  # all may be well now
        log.info("partitions assigned", topic=self.topic, new=numbers, all=sorted(self._assigned))
        self._tell(self._listener.assigned, numbers)

    def _on_revoke(self, _: object, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        log.info("partitions revoked", topic=self.topic, revoked=numbers)
        assert self._loop is not None  # noqa: S101 — partitions come after the start
        offsets = asyncio.run_coroutine_threadsafe(self._listener.revoked(numbers), self._loop).result()
        seconds = POLL_SECONDS if self._stopping else FINAL_SECONDS  # what could be committed was, before leaving
        self._commits.finish(self._client, offsets, lambda: time.sleep(POLL_SECONDS), seconds)
        self._forget(numbers)

    def _on_lost(self, _: object, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        log.warning("partitions lost: jobs that run will run elsewhere too", topic=self.topic, lost=numbers)
        self._diagnosis.joined = False
        self._forget(numbers)
        self._tell(self._listener.lost, numbers)

    def _forget(self, numbers: Sequence[int]) -> None:
        gone = frozenset(numbers)
        if paused := self.paused & gone:  # else they would be so still when they come back
            self._client.resume(self._partitions(paused))
        self._assigned -= gone
        self.paused -= gone
        self._commits.forget(numbers)
        self._extent.forget(numbers)

    def _look(self) -> None:
        """Measure the lag; find out whether what was wrong still is."""
        self._looked_at = time.monotonic()
        self._extent.measure(self._client, self._assigned - self.paused, self.paused)
        if self._diagnosis.due:
            self._examine()

    def _topic_is_there(self) -> bool:
        """Whether the topic can be subscribed to; `trouble` says why not."""
        self._turned_at = time.monotonic()
        self._examine()
        return self.trouble is None or self.trouble.reason == "NotAssigned"

    def _examine(self) -> None:
        """Find out what is wrong, with the login as it is now."""
        self._login = client.renew(self._client, self._kafka, self._login)
        self._diagnosis.examine(self._client, subscribed=self._subscribed)

    def _pause_for(self, seconds: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._stopping, seconds)

    def _tell(self, what: Any, *values: object) -> None:
        assert self._loop is not None  # noqa: S101 — the thread runs after the start
        self._loop.call_soon_threadsafe(what, *values)

    def _dispel(self, doubts: int) -> None:
        self._dispelled = doubts

    def _partitions(self, numbers: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self.topic, number) for number in numbers]
