"""The offsets of one consumer on their way to the brokers: sent every second, one commit at a time, until taken."""

import threading
import time
from collections.abc import Callable, Collection, Mapping

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from rochallor_worker.source import client

COMMIT_SECONDS = 1.0
"""Between two commits."""
ASK_SECONDS = 1.0
"""How long the brokers are asked whether they could take a commit."""
FINAL_SECONDS = 5.0
"""How long a commit is tried when partitions are given up, or the group is left."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Commits:
    """What is done of each partition of a topic. `put` may be called on any thread, the rest on the consumer's own."""

    def __init__(self, topic: str) -> None:
        self.in_flight = False
        """Whether the answer to a commit is to come: `answered` will be called."""
        self.taken: dict[int, int] = {}
        """What the brokers have taken since the partitions became ours."""
        self._topic = topic
        self._lock = threading.Lock()
        self._waiting: dict[int, int] = {}
        self._sent: dict[int, int] = {}
        self._due_at = 0.0
        self._refused = False

    def put(self, partition: int, offset: int) -> None:
        """Everything below this offset is done. It may be lower than before: a topic was deleted and made anew."""
        with self._lock:
            self._waiting[partition] = offset

    def send(self, member: Consumer, unchanged: Mapping[int, int] | None = None) -> None:
        """Commit what waits, if it is time; or at once, with offsets that change nothing, to be answered."""
        if self.in_flight or (unchanged is None and (not self._waiting or time.monotonic() < self._due_at)):
            return
        with self._lock:
            self._sent, self._waiting = {**(unchanged or {}), **self._waiting}, {}
        self.in_flight = True
        self._due_at = time.monotonic() + COMMIT_SECONDS
        try:
            member.commit(offsets=self._places(self._sent), asynchronous=True)
        except KafkaException as error:
            self.answered(error.args[0])

    def answered(self, error: KafkaError | None) -> None:
        """The brokers' word on what was sent: what they refuse is sent again."""
        if error is None:
            self.taken |= self._sent
        else:
            if self._sent and not self._refused:  # not all is lost meanwhile
                log.warning("offsets are not committed yet", topic=self._topic, error=error.str())
            with self._lock:
                self._waiting = self._sent | self._waiting
        self._refused = error is not None
        self.in_flight, self._sent = False, {}

    def finish(
        self, member: Consumer, offsets: Mapping[int, int], wait: Callable[[], object], seconds: float = FINAL_SECONDS
    ) -> None:
        """Commit these offsets before their partitions are given up; `wait` passes the time between two tries."""
        left = {number: offset for number, offset in offsets.items() if self.taken.get(number) != offset}
        deadline = time.monotonic() + seconds
        while left:
            try:
                # without a coordinator a commit would wait for ever; this does not
                member.committed(self._places(left), timeout=ASK_SECONDS)
                member.commit(offsets=self._places(left), asynchronous=False)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    why = client.text(error)
                    log.warning("offsets were not committed: jobs will run again", topic=self._topic, error=why)
                    return
                wait()
            else:
                self.taken |= left
                return

    def finish_all(self, member: Consumer, wait: Callable[[], object]) -> None:
        """Commit all that is not known to be taken."""
        with self._lock:
            left = self._sent | self._waiting
        self.finish(member, left, wait)

    def forget(self, partitions: Collection[int]) -> None:
        """These partitions are not ours any more."""
        with self._lock:
            for offsets in (self._waiting, self._sent, self.taken):
                for number in partitions:
                    offsets.pop(number, None)

    def _places(self, offsets: Mapping[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number, offset) for number, offset in offsets.items()]
