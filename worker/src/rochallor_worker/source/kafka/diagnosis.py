"""What is wrong between one consumer and the brokers, by its client's errors and by the brokers' answers."""

from confluent_kafka import Consumer, KafkaError, KafkaException

from rochallor_worker.logger import get_logger
from rochallor_worker.source.base import Problem
from rochallor_worker.source.kafka import client

ASK_SECONDS = 2.0
"""Longest wait for the brokers to describe the topic."""

HELD_UP = "until it exists, the engine dispatches no jobs of any type"
"""engine.md, "Kafka dispatch": one missing topic holds up all types."""

log = get_logger(__name__)


class Diagnosis:
    """The diagnosis of a consumer of `topic` at the brokers `servers`; changes are logged."""

    def __init__(self, topic: str, servers: str) -> None:
        self.problem: Problem | None = Problem("NotAssigned", f"has not joined the group of {topic!r} yet")
        self.joined = False
        """Whether the group has assigned the consumer its partitions."""
        self.not_created = ""
        """Why the topic, or that of its dead letters, cannot be created."""
        self._topic = topic
        self._servers = servers
        self._connection_error: str | None = None
        self._read_error: str | None = None

    @property
    def due(self) -> bool:
        """Whether something may be wrong, so that `examine` has something to find out."""
        return not self.joined or any((self.problem, self._connection_error, self._read_error))

    def connection_failed(self, error: KafkaError) -> None:
        """Note a connection error, until the brokers answer. Raises `RuntimeError` for a fatal one."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._connection_error is None:  # noqa: SLF001 — its name
            self._connection_error = _unless_fatal(error)

    def read_failed(self, error: KafkaError) -> None:
        """Note an error that came in place of a record. Raises `RuntimeError` for a fatal one."""
        self._read_error = _unless_fatal(error)

    def readable(self) -> None:
        """Note that records come, or could."""
        self._read_error = None

    def examine(self, member: Consumer, *, subscribed: bool) -> None:
        """Ask the brokers, and set `problem`. `subscribed`: a poll may give a record."""
        wrong = self._find(member, subscribed)
        if wrong != self.problem:
            self.problem = wrong  # first: who reads the line finds it at /readyz too
            (log.info if wrong is None else log.warning)(wrong.message if wrong else "consuming", topic=self._topic)

    def _find(self, member: Consumer, subscribed: bool) -> Problem | None:
        try:
            error = member.list_topics(self._topic, timeout=ASK_SECONDS).topics[self._topic].error
        except KafkaException as failure:
            if not subscribed:
                member.poll(0)  # lets the client call back with its errors
            why = self._connection_error or client.text(failure)
            return Problem("KafkaUnreachable", f"cannot reach Kafka at {self._servers}: {why}")
        self._connection_error = None
        if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            what_to_do = self.not_created or "create it (the engine does not)"
            return Problem("TopicNotFound", f"Kafka has no topic {self._topic!r}: {what_to_do}; {HELD_UP}")
        failure_text = self._read_error if error is None else error.str()
        if failure_text is not None:
            what = (
                f"topic {self._topic!r} cannot be read"
                if self.joined or error
                else f"cannot join the group of {self._topic!r}"
            )
            return Problem("KafkaUnreachable", f"{what}: {failure_text}")
        return None if self.joined else Problem("NotAssigned", f"joining the group of {self._topic!r}")


def _unless_fatal(error: KafkaError) -> str:
    if error.fatal():
        raise RuntimeError(f"the Kafka client has given up: {error.str()}")
    return client.connection_text(error)
