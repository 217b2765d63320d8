"""The consumer of one topic, on a thread of its own, which alone calls the Kafka client.

The thread reports what happens to the event loop, in order; what the loop decides (room, offsets that are done,
partitions to pause) takes effect with the thread's next poll. Between two polls there is a fraction of a second
whatever happens, so that the group sees a living member; only a revoked partition may wait longer, for the jobs in
flight.
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from rochallor_worker.logger import get_logger
from rochallor_worker.source.base import Problem
from rochallor_worker.source.kafka import client
from rochallor_worker.source.kafka.bounds import Bounds
from rochallor_worker.source.kafka.commits import FINAL_SECONDS, Commits
from rochallor_worker.source.kafka.connection import GroupProtocol, Kafka
from rochallor_worker.source.kafka.creation import create_missing
from rochallor_worker.source.kafka.diagnosis import Diagnosis
from rochallor_worker.source.kafka.listener import Listener
from rochallor_worker.source.kafka.ownership import Ownership
from rochallor_worker.source.kafka.records import group_of, topic_of
from rochallor_worker.source.kafka.room import Room

POLL_SECONDS = 0.1
"""How long one poll waits for a record."""
STOP_SECONDS = 15.0
"""Longest time a stop takes: a last commit, and one answer that never comes."""
PAUSE_AFTER = 1.0
"""Seconds without room after which the partitions are paused; resuming one costs fetching its records again."""
CHECK_SECONDS = 2.0
"""Between two checks for problems and of the lag."""
CREATE_SECONDS = 10.0
"""Between two tries to create what is missing at the start."""
STUCK_AFTER = 120.0
"""Seconds without a poll after which only a restart helps."""
SESSION_SECONDS = 15
"""After this time without a heartbeat the brokers give a dead worker's partitions to others."""
GROUP_SETTINGS: dict[GroupProtocol, dict[str, str | int]] = {
    "classic": {
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": SESSION_SECONDS * 1000,
        "heartbeat.interval.ms": 1000,  # its answer tells a member that partitions are to move
    },
    # the brokers have its times, by default 45 s and 5 s
    "consumer": {"group.protocol": "consumer"},
}
SETTINGS = {
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    "enable.auto.commit": False,  # only what the loop reports as done is committed
    "enable.partition.eof": True,  # shows that an empty partition can be read
    "socket.timeout.ms": 10_000,  # a silent broker delays the end of a worker no longer than this
    "topic.metadata.refresh.interval.ms": 10_000,  # new partitions are noticed within this time
    # a worker needs what its slots can take, not the client's usual 64 MB and 100,000 records
    "queued.min.messages": 1000,
    "queued.max.messages.kbytes": 16 * 1024,
    "fetch.queue.backoff.ms": 20,
}

log = get_logger(__name__)


class Consumer:
    """Consumes the topic of a job type in its group. Raises `StartError` for settings the client refuses.

    Nothing connects before `start`. `stop` leaves the group: the partitions are revoked first.
    """

    def __init__(self, kafka: Kafka, job_type: str, client_id: str, listener: Listener, room: int) -> None:
        self.topic = topic_of(job_type)
        self.paused: frozenset[int] = frozenset()
        self._kafka = kafka
        self._listener = listener
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscribed = False
        self._alive_at = time.monotonic()
        self._checked_at = self._created_at = float("-inf")
        self._assigned: frozenset[int] = frozenset()
        self._to_pause: frozenset[int] = frozenset()
        self._next: dict[int, int] = {}
        """Per partition: the offset after the last record or end that was handed over to the loop."""
        self._room = Room(room)
        self._ended = asyncio.Event()
        self._commits = Commits(self.topic, lambda offsets: self._post(listener.committed, offsets))
        self._bounds = Bounds(self.topic)
        self._ownership = Ownership(self._commits, self._bounds, self._post)
        self._diagnosis = Diagnosis(self.topic, kafka.bootstrap_servers)
        self._login = client.login(kafka)
        self._client = client.make(
            confluent_kafka.Consumer,
            kafka,
            self._login,
            {
                **SETTINGS,
                **GROUP_SETTINGS[kafka.group_protocol],
                "client.id": client_id,
                "group.id": group_of(job_type),
                "error_cb": self._diagnosis.connection_failed,
                "on_commit": self._ownership.on_commit,
            },
        )
        self._thread = threading.Thread(target=self._run, name=f"kafka {job_type}", daemon=True)

    @property
    def problem(self) -> Problem | None:
        """Why no records come."""
        return self._diagnosis.problem

    @property
    def stuck(self) -> bool:
        """Whether the thread no longer polls."""
        return self._loop is not None and time.monotonic() - self._alive_at > STUCK_AFTER

    @property
    def ownership_verified(self) -> bool:
        """Whether the partitions are certainly still this consumer's, as far as the listener has been told."""
        return self._ownership.verified

    def lag(self, partition: int, position: int | None) -> int:
        """Return how many records a partition has from the offset `position` on; None: no record has come yet."""
        return self._bounds.lag(partition, position)

    # called on the event loop

    def start(self) -> None:
        """Start the thread, which reports to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._alive_at = time.monotonic()
        self._thread.start()

    def make_room(self, count: int) -> None:
        """Allow for so many more records."""
        self._room.change(records=count)

    def free(self, size: int) -> None:
        """Note that so many bytes of records are no longer buffered; those in flight do not count."""
        self._room.change(size=size)

    def commit(self, partition: int, offset: int) -> None:
        """Commit within seconds that everything below this offset is done."""
        self._commits.put(partition, offset)

    def verify_ownership(self) -> None:
        """Ask the brokers whether the partitions are still ours; see `ownership_verified`."""
        if self._loop is not None:
            self._ownership.verify()

    def pause(self, partitions: frozenset[int]) -> None:
        """Fetch nothing from these partitions, but from all others, until the next call."""
        self._to_pause = partitions

    async def stop(self) -> None:
        """Commit, leave the group and end the thread. The listener answers `revoked` meanwhile.

        While a commit in flight is not answered, the client cannot leave as long as the brokers are silent: then the
        group notices at the end of the session.
        """
        self._room.close()
        if self._loop is not None:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._ended.wait()
            except TimeoutError:
                log.warning("the consumer did not leave its group: the brokers do not answer", topic=self.topic)
            else:
                self._thread.join()

    # called on the thread

    def _run(self) -> None:
        try:
            while not self._room.closed and not self._topic_exists():
                self._room.wait_closed(CHECK_SECONDS)
            if not self._room.closed:
                self._subscribed = True  # from here on a poll may give a record
                self._client.subscribe(
                    [self.topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
                )
            while not self._room.closed:
                try:
                    self._poll_once()
                except KafkaException as error:
                    self._diagnosis.connection_failed(error.args[0])
                    self._room.wait_closed(CHECK_SECONDS)
            # while partitions move, the brokers refuse it for a moment
            self._commits.finish_all(self._client, lambda: self._client.poll(POLL_SECONDS))
            self._client.close()
        except BaseException as error:  # noqa: BLE001 — reported to the loop, which ends the worker
            self._post(self._listener.crashed, error)
        finally:
            self._post(self._ended.set)

    def _poll_once(self) -> None:
        self._alive_at = time.monotonic()
        self._ownership.commit(self._client, self._assigned)
        full = not self._wait_for_room()
        self._apply_pauses(self._assigned if full else self._to_pause & self._assigned)
        if (first := self._client.poll(POLL_SECONDS)) is not None:
            # handed over at once: the next call may raise, or give the partition away
            self._hand_over([first])
            self._hand_over(self._client.consume(self._room.records if self._room.available else 0, 0))
        if self._alive_at - self._checked_at > CHECK_SECONDS:
            self._check()

    def _hand_over(self, messages: Sequence[Message]) -> None:
        """Hand records over to the loop. One that was left out would count as done as soon as a later one is."""
        records: list[Message] = []
        ends: dict[int, int] = {}
        for message in messages:
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 — a public constant
                self._diagnosis.read_failed(error)
                continue
            self._diagnosis.readable()
            number, offset = message.partition(), message.offset()
            assert number is not None and offset is not None  # noqa: S101, PT018 — a record and an end have both
            if error is None:
                records.append(message)
                self._next[number] = offset + 1
            elif self._next.get(number) != offset:
                self._next[number] = ends[number] = offset
        if records:
            self._room.change(records=-len(records), size=-sum(map(client.size, records)))
            self._post(self._listener.received, records)
        for number, offset in ends.items():
            self._post(self._listener.reached, number, offset)

    def _wait_for_room(self) -> bool:
        """Wait a little for room; not at all where all partitions are paused already."""
        all_paused = self._assigned and self.paused == self._assigned
        return self._room.wait(0.0 if all_paused else PAUSE_AFTER)

    def _apply_pauses(self, wanted: frozenset[int]) -> None:
        if more := wanted - self.paused:
            self._client.pause(self._partitions(more))
        if fewer := (self.paused & self._assigned) - wanted:
            self._client.resume(self._partitions(fewer))
        self.paused = wanted

    def _on_assign(self, _: object, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        self._assigned |= frozenset(numbers)
        self._diagnosis.joined = True
        self._diagnosis.readable()
        self._checked_at = float("-inf")  # earlier problems may be over
        log.info("partitions assigned", topic=self.topic, new=numbers, all=sorted(self._assigned))
        self._post(self._listener.assigned, numbers)

    def _on_revoke(self, _: object, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        log.info("partitions revoked", topic=self.topic, revoked=numbers)
        assert self._loop is not None  # noqa: S101 — partitions come after the start
        offsets = asyncio.run_coroutine_threadsafe(self._listener.revoked(numbers), self._loop).result()
        seconds = POLL_SECONDS if self._room.closed else FINAL_SECONDS  # a stop has committed before it leaves
        self._commits.finish(self._client, offsets, lambda: time.sleep(POLL_SECONDS), seconds)
        self._forget(numbers)

    def _on_lost(self, _: object, partitions: Sequence[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        log.warning("partitions lost: jobs in flight will also run elsewhere", topic=self.topic, lost=numbers)
        self._diagnosis.joined = False
        self._forget(numbers)
        self._post(self._listener.lost, numbers)

    def _forget(self, numbers: Sequence[int]) -> None:
        removed = frozenset(numbers)
        if paused := self.paused & removed:  # else they would still be paused when they are assigned again
            self._client.resume(self._partitions(paused))
        self._assigned -= removed
        self.paused -= removed
        self._commits.forget(numbers)
        self._bounds.forget(numbers)
        for number in numbers:
            self._next.pop(number, None)

    def _check(self) -> None:
        """Measure the lag, and check whether there is a problem or an earlier one is over."""
        self._checked_at = time.monotonic()
        self._bounds.measure(self._client, self._assigned - self.paused, self.paused)
        if self._diagnosis.due:
            self._diagnose()

    def _topic_exists(self) -> bool:
        """Whether the topic can be subscribed to; `problem` says why not."""
        self._alive_at = time.monotonic()
        if self._alive_at - self._created_at > CREATE_SECONDS:
            self._create_missing()
        self._diagnose()
        exists = self.problem is None or self.problem.reason == "NotAssigned"
        if exists and self._diagnosis.not_created:  # somebody else has created it, but perhaps not its dead letters'
            self._create_missing()
            if why := self._diagnosis.not_created:
                log.warning("going on without a topic for dead letters", topic=self.topic, error=why)
        return exists

    def _create_missing(self) -> None:
        if (new := self._kafka.create_topics) is not None:
            self._created_at = time.monotonic()
            self._diagnosis.not_created = create_missing(self._kafka, new, self.topic)

    def _diagnose(self) -> None:
        """Find out what is wrong, with the login as it is now."""
        self._login = client.renew(self._client, self._kafka, self._login)
        self._diagnosis.examine(self._client, subscribed=self._subscribed)

    def _post(self, function: Any, *values: object) -> None:
        """Have the function called on the event loop."""
        assert self._loop is not None  # noqa: S101 — the thread runs after the start
        self._loop.call_soon_threadsafe(function, *values)

    def _partitions(self, numbers: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self.topic, number) for number in numbers]
