"""Where records go that can never be worked off, so that people can look at them: `<topic>.dlq`."""

import asyncio
from random import Random

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from rochallor_worker.backoff import Backoff
from rochallor_worker.source import client
from rochallor_worker.source.brokers import Kafka
from rochallor_worker.source.records import DEAD_LETTER_SUFFIX

SEND_SECONDS = 10
"""How long one try to send may take."""
RETRY_CAP = 30.0
"""Most seconds between two tries."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class DeadLetters:
    """Sends records to the dead-letter topics. Raises `StartError` for settings the client refuses."""

    def __init__(self, kafka: Kafka, random: Random) -> None:
        settings = {
            "enable.idempotence": True,
            "message.timeout.ms": SEND_SECONDS * 1000,
            "topic.metadata.propagation.max.ms": 0,  # a missing topic is said at once
            "message.max.bytes": 1_000_000_000,  # the client's limit; what is too large is for the topic to say
        }
        self._kafka = kafka
        self._login = client.login(kafka)
        self._producer = client.make(confluent_kafka.Producer, kafka, self._login, settings)
        self._random = random

    async def send(self, message: Message, why: str) -> None:
        """Send a record with the reason among its headers; tries until the brokers have it, or never will."""
        backoff = Backoff(1.0, RETRY_CAP, self._random)
        while (error := await asyncio.to_thread(self._send, message, why)) is not None:
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                log.error("a record is too large to be dead-lettered and is given up", topic=message.topic())
                return
            log.error("a record cannot be dead-lettered; trying again", topic=message.topic(), error=error.str())
            await asyncio.sleep(backoff.next())

    def _send(self, message: Message, why: str) -> KafkaError | None:
        """Send once; returns what went wrong."""
        self._login = client.renew(self._producer, self._kafka, self._login)
        errors: list[KafkaError | None] = []
        came_from = f"{message.topic()}/{message.partition()}/{message.offset()}"
        headers = [*(message.headers() or []), ("error", why.encode()), ("origin", came_from.encode())]
        topic = f"{message.topic()}{DEAD_LETTER_SUFFIX}"
        try:
            self._producer.produce(
                topic,
                message.value(),
                message.key(),
                headers=headers,
                on_delivery=lambda error, _: errors.append(error),
            )
        except KafkaException as error:
            refused: KafkaError = error.args[0]
            return refused
        self._producer.flush(SEND_SECONDS + 1)
        return errors[0] if errors else KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 — a public constant
