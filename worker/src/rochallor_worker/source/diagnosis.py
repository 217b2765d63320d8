"""What is wrong between one consumer and the brokers: what its client says, and what they say when they are asked."""

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException

from rochallor_worker.source import client
from rochallor_worker.source.base import Trouble

ASK_SECONDS = 2.0
"""How long the brokers are asked for the topic."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Diagnosis:
    """Of a consumer of `topic` at the brokers `servers`; logs what changes."""

    def __init__(self, topic: str, servers: str) -> None:
        self.trouble: Trouble | None = Trouble("NotAssigned", f"has not joined the group of {topic!r} yet")
        self.joined = False
        """Whether the group has given the consumer its share."""
        self._topic = topic
        self._servers = servers
        self._complaint: str | None = None
        self._refusal: str | None = None

    @property
    def due(self) -> bool:
        """Whether something may be wrong, so that `examine` has something to find out."""
        return not self.joined or any((self.trouble, self._complaint, self._refusal))

    def complained(self, error: KafkaError) -> None:
        """The client said this of its connections; forgotten once the brokers answer. Raises what is for ever."""
        self._complaint = _unless_fatal(error)

    def refused(self, error: KafkaError) -> None:
        """This came in place of a record. Raises what is for ever."""
        self._refusal = _unless_fatal(error)

    def can_read(self) -> None:
        """Records come, or could."""
        self._refusal = None

    def examine(self, member: Consumer, *, subscribed: bool) -> None:
        """Ask the brokers, and say in `trouble` what is wrong. `subscribed`: a poll may give a record."""
        wrong = self._find(member, subscribed)
        if wrong != self.trouble:
            (log.info if wrong is None else log.warning)(wrong.sentence if wrong else "consuming", topic=self._topic)
            self.trouble = wrong

    def _find(self, member: Consumer, subscribed: bool) -> Trouble | None:
        try:
            error = member.list_topics(self._topic, timeout=ASK_SECONDS).topics[self._topic].error
        except KafkaException as failure:
            if not subscribed:
                member.poll(0)  # lets the client say what it complains of
            why = self._complaint or client.text(failure)
            return Trouble("KafkaUnreachable", f"cannot reach Kafka at {self._servers}: {why}")
        self._complaint = None
        if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return Trouble("TopicNotFound", f"Kafka has no topic {self._topic!r}: create it (the engine does not)")
        refusal = self._refusal if error is None else error.str()
        if refusal is not None:
            what = (
                f"topic {self._topic!r} cannot be read"
                if self.joined or error
                else f"cannot join the group of {self._topic!r}"
            )
            return Trouble("KafkaUnreachable", f"{what}: {refusal}")
        return None if self.joined else Trouble("NotAssigned", f"joining the group of {self._topic!r}")


def _unless_fatal(error: KafkaError) -> str:
    if error.fatal():
        raise RuntimeError(f"the Kafka client has given up: {error.str()}")
    return error.str()
