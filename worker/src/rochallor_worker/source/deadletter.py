"""Where records go that can never be worked off, so that people can look at them: `<topic>.dlq`."""

import asyncio
from collections.abc import Callable
from random import Random

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from rochallor_worker.backoff import Backoff
from rochallor_worker.source import client
from rochallor_worker.source.base import Trouble
from rochallor_worker.source.brokers import Kafka
from rochallor_worker.source.records import DEAD_LETTER_SUFFIX

SEND_SECONDS = 10
"""How long one try to send may take."""
RETRY_CAP = 30.0
"""Most seconds between two tries."""
POLL_SECONDS = 0.1
"""How long a thread waits for the brokers' answer, and so the end of the worker for the thread."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class DeadLetters:
    """Sends records to the dead-letter topics, one after another. Raises `StartError` for settings the client refuses.

    They wait in line in memory: the partitions they came from are not fetched far ahead of them.
    """

    def __init__(self, kafka: Kafka, random: Random) -> None:
        self.trouble: Trouble | None = None
        """Why the record in front is not taken."""
        settings = {
            "message.timeout.ms": SEND_SECONDS * 1000,
            "topic.metadata.propagation.max.ms": 0,  # a missing topic is said at once
            "message.max.bytes": 1_000_000_000,  # the client's limit; what is too large is for the topic to say
        }
        self._kafka = kafka
        self._login = client.login(kafka)
        self._producer = client.make(confluent_kafka.Producer, kafka, self._login, settings)
        self._random = random
        self._line: asyncio.Queue[tuple[Message, str, Callable[[], None]]] = asyncio.Queue()
        self._burying: asyncio.Task[None] | None = None

    def put(self, message: Message, why: str, then: Callable[[], None]) -> None:
        """Send a record with the reason among its headers, then call `then`: when it is sent, or never can be."""
        self._line.put_nowait((message, why, then))
        if self._burying is None:
            self._burying = asyncio.create_task(self._bury(), name="dead letters")

    def close(self) -> None:
        """Send no more. What waits is not committed, and comes again."""
        if self._burying is not None:
            self._burying.cancel()
        self._producer.purge()

    async def _bury(self) -> None:
        while True:
            message, why, then = await self._line.get()
            await self._send(message, why)
            self.trouble = None
            then()

    async def _send(self, message: Message, why: str) -> None:
        """Send a record; tries until the brokers have it, or never will."""
        backoff = Backoff(1.0, RETRY_CAP, self._random)
        while (error := await self._try(message, why)) is not None:
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                log.error("a record is too large to be dead-lettered and is given up", topic=message.topic())
                return
            self.trouble = _trouble(f"{message.topic()}{DEAD_LETTER_SUFFIX}", error)
            log.error("a record cannot be dead-lettered; trying again", topic=message.topic(), error=error.str())
            await asyncio.sleep(backoff.next())

    async def _try(self, message: Message, why: str) -> KafkaError | None:
        """Send once; returns what went wrong."""
        self._login = client.renew(self._producer, self._kafka, self._login)
        answers: list[KafkaError | None] = []
        came_from = f"{message.topic()}/{message.partition()}/{message.offset()}"
        headers = [*(message.headers() or []), ("error", why.encode()), ("origin", came_from.encode())]
        try:
            self._producer.produce(
                f"{message.topic()}{DEAD_LETTER_SUFFIX}",
                message.value(),
                message.key(),
                headers=headers,
                on_delivery=lambda error, _: answers.append(error),
            )
        except KafkaException as error:
            refused: KafkaError = error.args[0]
            return refused
        while not answers:  # there will be one: SEND_SECONDS
            await asyncio.to_thread(self._producer.poll, POLL_SECONDS)
        return answers[0]


def _trouble(topic: str, error: KafkaError) -> Trouble:
    if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001 — a public constant
        return Trouble("TopicNotFound", f"Kafka has no topic {topic!r} for dead letters: create it")
    return Trouble("KafkaUnreachable", f"topic {topic!r} does not take dead letters: {error.str()}")
