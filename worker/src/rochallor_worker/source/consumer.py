"""The consumer of one topic, on a thread of its own: the only code that calls the Kafka client.

What the thread learns it hands to the event loop, in order; what the loop decides (room, offsets that are done,
partitions to hold) the thread carries out at its next turn. A turn takes a fraction of a second whatever happens, so
that the group sees a living member; only a revoked partition may wait longer, for the jobs that run.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from rochallor_worker.source import client
from rochallor_worker.source.base import Trouble
from rochallor_worker.source.brokers import Kafka
from rochallor_worker.source.records import group_of, topic_of

POLL_SECONDS = 0.1
"""How long one turn waits for a record."""
PAUSE_AFTER = 1.0
"""Seconds without room after which the partitions are paused; resuming one costs fetching its records again."""
LOOK_SECONDS = 2.0
"""Between two looks at what is wrong and at the lag."""
STUCK_AFTER = 120.0
"""Seconds without a turn after which only a restart helps."""
LEAVE_SECONDS = 5.0
"""How long a leaving member tries to commit."""
SESSION_SECONDS = 15
"""After this time without a heartbeat the brokers give a dead worker's partitions to others."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Listener(Protocol):
    """What the loop is told. Partitions are numbers of the consumer's topic."""

    def assigned(self, partitions: Sequence[int]) -> None:
        """These partitions are ours from now on."""

    def received(self, messages: Sequence[Message]) -> None:
        """Records came, in the order of their offsets per partition. Each has taken up room."""

    def revoked(self, partitions: Sequence[int]) -> Coroutine[Any, Any, dict[int, int]]:
        """These partitions are to be given up; returns, soon, the offsets that may be committed for them."""
        ...

    def lost(self, partitions: Sequence[int]) -> None:
        """These partitions are somebody else's already."""

    def crashed(self, error: BaseException) -> None:
        """The thread has ended by an error in this program."""


class Consumer:
    """Consumes the topic of a job type in its group. Raises `StartError` for settings the client refuses.

    Until `start` nothing is connected. `stop` leaves the group: the partitions are revoked first.
    """

    def __init__(self, kafka: Kafka, job_type: str, client_id: str, listener: Listener, room: int) -> None:
        self.topic = topic_of(job_type)
        self.trouble: Trouble | None = Trouble("NotAssigned", f"has not joined the group of {self.topic!r} yet")
        self.highs: dict[int, int] = {}
        """The end of each assigned partition, as last heard of."""
        self.paused: frozenset[int] = frozenset()
        self._kafka = kafka
        self._listener = listener
        self._loop: asyncio.AbstractEventLoop | None = None
        self._errors: str | None = None
        """What the client last complained of; cleared once all is seen to be well."""
        self._subscribed = self._joined = False
        self._turned_at = time.monotonic()
        self._looked_at = float("-inf")
        self._assigned: frozenset[int] = frozenset()
        self._held: frozenset[int] = frozenset()
        self._change = threading.Condition()
        """Guards what both threads write: the next two, and `_stopping`."""
        self._room = room
        self._offsets: dict[int, int] = {}
        self._stopping = False
        self._login = client.login(kafka)
        self._client = client.make(confluent_kafka.Consumer, kafka, self._login, self._settings(job_type, client_id))
        self._thread = threading.Thread(target=self._run, name=f"kafka {job_type}", daemon=True)

    @property
    def stuck(self) -> bool:
        """Whether the thread does not turn any more."""
        return self._loop is not None and time.monotonic() - self._turned_at > STUCK_AFTER

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
        with self._change:
            self._offsets[partition] = offset

    def hold(self, partitions: frozenset[int]) -> None:
        """Fetch nothing from these partitions until told otherwise."""
        self._held = partitions

    async def stop(self) -> None:
        """Commit, leave the group and end the thread. The listener answers `revoked` meanwhile."""
        with self._change:
            self._stopping = True
            self._change.notify()
        if self._loop is not None:
            await asyncio.to_thread(self._thread.join)

    # called on the thread

    def _run(self) -> None:
        try:
            while not self._stopping and not self._topic_exists():
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
                    self._on_error(error.args[0])
                    self._pause_for(LOOK_SECONDS)
            self._commit_all()
            self._client.close()
        except BaseException as error:  # noqa: BLE001 — told to the loop, which ends the worker
            self._tell(self._listener.crashed, error)

    def _turn(self) -> None:
        self._turned_at = time.monotonic()
        self._store_offsets()
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
        for error in filter(None, (message.error() for message in messages)):
            self._on_error(error)
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

    def _store_offsets(self) -> None:
        """Hand over what is done; the client commits it every second and when it leaves."""
        with self._change:
            offsets, self._offsets = self._offsets, {}
        mine = [self._at(number, offset) for number, offset in offsets.items() if number in self._assigned]
        if mine:
            self._client.store_offsets(offsets=mine)

    def _commit_all(self) -> None:
        """Commit what is done before the group is left: while partitions move, the brokers refuse it for a moment."""
        deadline = time.monotonic() + LEAVE_SECONDS
        while time.monotonic() < deadline:
            self._store_offsets()
            try:
                self._client.commit(asynchronous=False)
                return
            except KafkaException as error:
                if error.args[0].code() == KafkaError._NO_OFFSET:  # noqa: SLF001 — nothing to commit
                    return
                log.debug("not committed yet", topic=self.topic, error=client.text(error))
            self._client.poll(POLL_SECONDS)

    def _on_assign(self, _: object, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        self._assigned |= frozenset(numbers)
        self._joined = True
        self._looked_at = float("-inf")  # all may be well now
        log.info("partitions assigned", topic=self.topic, new=numbers, all=sorted(self._assigned))
        self._tell(self._listener.assigned, numbers)

    def _on_revoke(self, _: object, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        log.info("partitions revoked", topic=self.topic, revoked=numbers)
        assert self._loop is not None  # noqa: S101 — partitions come after the start
        offsets = asyncio.run_coroutine_threadsafe(self._listener.revoked(numbers), self._loop).result()
        self._forget(numbers)
        if offsets:
            try:
                # stored first: a commit by the client's own clock may follow, and would take what was stored before
                self._client.store_offsets(offsets=[self._at(number, offset) for number, offset in offsets.items()])
                self._client.commit(asynchronous=False)
            except KafkaException as error:
                if error.args[0].code() != KafkaError._NO_OFFSET:  # noqa: SLF001 — all of them were committed before
                    log.warning(
                        "offsets were not committed: jobs will run again", topic=self.topic, error=client.text(error)
                    )

    def _on_lost(self, _: object, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        log.warning("partitions lost: jobs that run will run elsewhere too", topic=self.topic, lost=numbers)
        self._joined = False
        self._forget(numbers)
        self._tell(self._listener.lost, numbers)

    def _forget(self, numbers: Sequence[int]) -> None:
        gone = frozenset(numbers)
        self._assigned -= gone
        self.paused -= gone
        with self._change:
            self._offsets = {number: offset for number, offset in self._offsets.items() if number not in gone}
        self.highs = {number: high for number, high in self.highs.items() if number not in gone}

    def _on_error(self, error: KafkaError) -> None:
        """Note what the client complains of; the next look says whether it lasts. Raises what cannot be mended."""
        if error.fatal():
            raise RuntimeError(f"the Kafka client has given up: {error.str()}")
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 — the library's public constants look like this
            self._errors = error.str()

    def _look(self) -> None:
        """Measure the lag; find out whether what was wrong still is."""
        self._looked_at = time.monotonic()
        for number in self._assigned:
            if (high := self._client.get_watermark_offsets(self._at(number, 0), cached=True)[1]) >= 0:
                self.highs[number] = high
        if self._errors is not None or self.trouble is not None or not self._joined:
            self._topic_exists()

    def _topic_exists(self) -> bool:
        """Ask the brokers for the topic, with the login as it is now; says in `trouble` what is wrong."""
        self._turned_at = time.monotonic()
        self._login = client.renew(self._client, self._kafka, self._login)
        wrong: Trouble | None
        try:
            found = self._client.list_topics(self.topic, timeout=LOOK_SECONDS).topics[self.topic].error
        except KafkaException as error:
            if not self._subscribed:
                self._client.poll(0)  # lets the client say what it complains of
            why = self._errors or client.text(error)
            wrong = Trouble("KafkaUnreachable", f"cannot reach Kafka at {self._kafka.bootstrap_servers}: {why}")
        else:
            if found is None:
                self._errors = None
                wrong = None if self._joined else Trouble("NotAssigned", f"joining the group of {self.topic!r}")
            elif found.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                wrong = Trouble("TopicNotFound", f"Kafka has no topic {self.topic!r}: create it (the engine does not)")
            else:
                wrong = Trouble("KafkaUnreachable", f"topic {self.topic!r} cannot be read: {found.str()}")
        if wrong != self.trouble:
            (log.info if wrong is None else log.warning)(wrong.sentence if wrong else "consuming", topic=self.topic)
            self.trouble = wrong
        return wrong is None or wrong.reason == "NotAssigned"

    def _pause_for(self, seconds: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._stopping, seconds)

    def _tell(self, what: Any, *values: object) -> None:
        assert self._loop is not None  # noqa: S101 — the thread runs after the start
        self._loop.call_soon_threadsafe(what, *values)

    def _at(self, partition: int, offset: int) -> TopicPartition:
        return TopicPartition(self.topic, partition, offset)

    def _partitions(self, numbers: frozenset[int]) -> list[TopicPartition]:
        return [TopicPartition(self.topic, number) for number in numbers]

    def _settings(self, job_type: str, client_id: str) -> dict[str, Any]:
        return {
            "client.id": client_id,
            "group.id": group_of(job_type),
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_SECONDS * 1000,
            "heartbeat.interval.ms": 1000,  # by its answer a member hears that partitions are to move
            "auto.offset.reset": "earliest",
            "allow.auto.create.topics": False,
            "enable.auto.commit": True,
            "auto.commit.interval.ms": 1000,
            "enable.auto.offset.store": False,  # what is committed is what we say is done
            "topic.metadata.refresh.interval.ms": 10_000,  # new partitions are noticed within this time
            # a worker needs what its slots can take, not the client's usual 64 MB and 100,000 records
            "queued.min.messages": 1000,
            "queued.max.messages.kbytes": 16 * 1024,
            "fetch.queue.backoff.ms": 20,
            "error_cb": self._on_error,
        }
