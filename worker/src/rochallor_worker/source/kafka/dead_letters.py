"""Where records go that can never be processed, for people to inspect: `<topic>.dlq`."""

import asyncio
from collections.abc import Callable
from random import Random

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message

from rochallor_worker.backoff import Jitter
from rochallor_worker.logger import get_logger
from rochallor_worker.source.base import Problem
from rochallor_worker.source.kafka import client
from rochallor_worker.source.kafka.connection import Kafka
from rochallor_worker.source.kafka.records import DEAD_LETTER_SUFFIX

SEND_SECONDS = 10
"""How long one try to send may take."""
RETRY_CAP = 30.0
"""Most seconds between two tries."""
POLL_SECONDS = 0.1
"""How long a thread waits for the brokers' answer, and so the longest time a stop waits for the thread."""

log = get_logger(__name__)


class DeadLetters:
    """Sends records to the dead-letter topics, one after another. Raises `StartError` for settings the client refuses.

    They are queued in memory: the partitions they came from are not fetched far ahead of them.
    """

    def __init__(self, kafka: Kafka, random: Random) -> None:
        self.problem: Problem | None = None
        """Why the first record in the queue cannot be sent."""
        settings = {
            "message.timeout.ms": SEND_SECONDS * 1000,
            "topic.metadata.propagation.max.ms": 0,  # a missing topic is reported at once
            "message.max.bytes": 1_000_000_000,  # the client's limit; the topic's own is the one that counts
        }
        self._kafka = kafka
        self._login = client.login(kafka)
        self._producer = client.make(confluent_kafka.Producer, kafka, self._login, settings)
        self._random = random
        self._queue: asyncio.Queue[tuple[Message, str, Callable[[], None]]] = asyncio.Queue()
        self._sending: asyncio.Task[None] | None = None

    def put(self, message: Message, why: str, then: Callable[[], None]) -> None:
        """Send a record with the reason among its headers; call `then` once it is sent, or never can be."""
        self._queue.put_nowait((message, why, then))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), name="dead letters")

    def close(self) -> None:
        """Send no more. What is still queued is not committed, and so redelivered."""
        if self._sending is not None:
            self._sending.cancel()
        self._producer.purge()

    async def _send_all(self) -> None:
        while True:
            message, why, then = await self._queue.get()
            await self._send(message, why)
            self.problem = None
            then()

    async def _send(self, message: Message, why: str) -> None:
        """Send a record; retry until the brokers have accepted it, or never will."""
        backoff = Jitter(1.0, RETRY_CAP, self._random)
        while (error := await self._try(message, why)) is not None:
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                log.error("a record is too large to be dead-lettered and is dropped", topic=message.topic())
                return
            self.problem = _problem(f"{message.topic()}{DEAD_LETTER_SUFFIX}", error)
            log.error("a record cannot be dead-lettered; trying again", topic=message.topic(), error=error.str())
            await asyncio.sleep(backoff.next())

    async def _try(self, message: Message, why: str) -> KafkaError | None:
        """Send once; return the error, if any."""
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
        while not answers:  # one comes within SEND_SECONDS
            await asyncio.to_thread(self._producer.poll, POLL_SECONDS)
        return answers[0]


def _problem(topic: str, error: KafkaError) -> Problem:
    if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001 — a public constant
        return Problem("TopicNotFound", f"Kafka has no topic {topic!r} for dead letters: create it")
    return Problem("KafkaUnreachable", f"topic {topic!r} does not accept dead letters: {error.str()}")
