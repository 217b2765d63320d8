"""The commits of one consumer: offsets are sent every second, one commit at a time, until the brokers accept them."""

import threading
import time
from collections.abc import Callable, Collection, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from rochallor_worker.logger import get_logger
from rochallor_worker.source.kafka import client

COMMIT_SECONDS = 1.0
"""Between two commits."""
ASK_SECONDS = 1.0
"""Longest wait for the brokers to show that they could accept a commit."""
FINAL_SECONDS = 5.0
"""How long a commit is retried when partitions are given up, or the group is left."""

log = get_logger(__name__)


class Commits:
    """The offsets to commit for the partitions of a topic.

    `put` may be called on any thread, the rest on the consumer's own. There `on_committed` is called, with offsets that
    the brokers have accepted.
    """

    def __init__(self, topic: str, on_committed: Callable[[Mapping[int, int]], None]) -> None:
        self.in_flight = False
        """Whether a commit waits for its answer: `answered` will be called."""
        self.committed: dict[int, int] = {}
        """What the brokers have accepted since the partitions were assigned."""
        self._topic = topic
        self._on_committed = on_committed
        self._lock = threading.Lock()
        self._waiting: dict[int, int] = {}
        self._sent: dict[int, int] = {}
        self._due_at = 0.0
        self._refused = False

    def put(self, partition: int, offset: int) -> None:
        """Note that everything below this offset is done. It may be lower than before, if the topic was recreated."""
        with self._lock:
            self._waiting[partition] = offset

    def send(self, member: Consumer, unchanged: Mapping[int, int] | None = None) -> None:
        """Commit what waits, if it is time; with `unchanged` offsets at once, for the sake of the answer."""
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
        """Take in the brokers' answer to the last commit: what they refuse is sent again."""
        if error is None:
            self._accepted(self._sent)
        else:
            if self._sent and not self._refused:  # the partitions may have been lost meanwhile
                log.warning("offsets are not committed yet", topic=self._topic, error=error.str())
            with self._lock:
                self._waiting = self._sent | self._waiting
        self._refused = error is not None
        self.in_flight, self._sent = False, {}

    def finish(
        self, member: Consumer, offsets: Mapping[int, int], wait: Callable[[], object], seconds: float = FINAL_SECONDS
    ) -> None:
        """Commit these offsets before their partitions are given up; `wait` is called between two tries."""
        left = {number: offset for number, offset in offsets.items() if self.committed.get(number) != offset}
        deadline = time.monotonic() + seconds
        while left:
            try:
                # without a coordinator a commit would wait forever; this does not
                member.committed(self._places(left), timeout=ASK_SECONDS)
                member.commit(offsets=self._places(left), asynchronous=False)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    why = client.text(error)
                    log.warning("offsets were not committed: jobs will run again", topic=self._topic, error=why)
                    return
                wait()
            else:
                self._accepted(left)
                return

    def finish_all(self, member: Consumer, wait: Callable[[], object]) -> None:
        """Commit everything that is not known to be committed."""
        with self._lock:
            left = self._sent | self._waiting
        self.finish(member, left, wait)

    def forget(self, partitions: Collection[int]) -> None:
        """Forget partitions that are no longer this consumer's."""
        with self._lock:
            for offsets in (self._waiting, self._sent, self.committed):
                for number in partitions:
                    offsets.pop(number, None)

    def _accepted(self, offsets: Mapping[int, int]) -> None:
        self.committed.update(offsets)
        self._on_committed(offsets)

    def _places(self, offsets: Mapping[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, number, offset) for number, offset in offsets.items()]
